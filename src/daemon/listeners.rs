//! The HTTP listeners: bound first, served once there is something to serve.

use tokio::net::TcpListener;

use super::start_error::StartError;
use crate::config::HostPort;

/// A bound listener and its real address.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) address: String,
}

/// Binds; port 0 lets the system choose.
pub(super) async fn bind(address: &HostPort, flag: &'static str) -> Result<Bound, StartError> {
    let failed = |source| StartError::Listen { address: address.to_string(), flag, source };
    let host = address.host().trim_start_matches('[').trim_end_matches(']');
    let listener = TcpListener::bind((host, address.port())).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    Ok(Bound { listener, address })
}
