//! Reading the body of a request that may be large: as fast as it may be slow, and with room made as it grows.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::BodyReadError;

/// Slowest rate at which a large body may arrive: a lame mobile link.
const RATE_MIN: usize = 32 * 1024;

/// Time that a body may take whatever its size.
const GRACE: Duration = Duration::from_secs(20);

/// Why an upload ended early.
#[derive(Debug)]
pub(crate) enum UploadError<E> {
    /// What the client sent.
    Body(BodyReadError),
    /// There is no room for it.
    NoRoom(E),
}

/// Collects a body. `make_room` is told how much memory it takes so far, before it takes it.
///
/// # Errors
/// [`UploadError`]; a body whose declared length is over the limit is refused before a byte of it is read, one that
/// arrives at less than [`RATE_MIN`] when it falls behind.
pub(crate) async fn read_upload<E>(
    mut body: Incoming,
    bytes_max: usize,
    mut make_room: impl FnMut(usize) -> Result<(), E>,
) -> Result<Bytes, UploadError<E>> {
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        return Err(UploadError::Body(BodyReadError::TooLarge { bytes_max }));
    }
    let started = Instant::now();
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let arrived = first.len() + all.len();
        let frame = tokio::time::timeout_at((started + time_for(arrived)).into(), body.frame()).await;
        let Some(frame) = frame.map_err(|_| UploadError::Body(BodyReadError::Timeout))? else { break };
        let frame = frame.map_err(|error| UploadError::Body(BodyReadError::Broken(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if arrived + data.len() > bytes_max {
            return Err(UploadError::Body(BodyReadError::TooLarge { bytes_max }));
        }
        if arrived == 0 {
            // A body that comes in a single piece is not copied.
            first = data;
            continue;
        }
        let needed = arrived + data.len();
        if all.capacity() < needed {
            // Doubled like any buffer, but not beyond what will come.
            let expected = usize::try_from(declared).unwrap_or(0);
            let capacity = (needed * 2).min(if expected >= needed { expected } else { bytes_max }).max(needed);
            make_room(capacity).map_err(UploadError::NoRoom)?;
            all.reserve(capacity - all.len());
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// When so much must have arrived, counted from the beginning.
fn time_for(bytes: usize) -> Duration {
    GRACE + Duration::from_secs((bytes / RATE_MIN) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_grows_with_what_has_arrived() {
        assert_eq!(time_for(0), GRACE);
        assert_eq!(time_for(64 * RATE_MIN), GRACE + Duration::from_secs(64));
        // The largest body there is ends within a few hours, however slowly it comes.
        assert!(time_for(crate::types::limits::LOAD_BYTES_MAX) < Duration::from_secs(3 * 3600));
    }
}
