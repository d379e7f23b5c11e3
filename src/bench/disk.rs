//! How often per second the disk makes a small write durable: the bound of a log that one client waits for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::BenchError;

/// What is written at once: a page, as an entry of the log with its frame fits into one.
const WRITE_BYTES: usize = 4096;

/// How many writes the file has room for, then it starts over. Written before, so that no write changes its size.
const WRITES: u64 = 4096;

/// Appends to a file that has its full size already, one write and one fdatasync after the other.
pub(super) fn fdatasyncs_per_second(directory: &Path, duration: Duration) -> Result<f64, BenchError> {
    let path = directory.join("disk");
    measure(&path, duration).map_err(|source| BenchError::Disk { path, source })
}

fn measure(path: &Path, duration: Duration) -> io::Result<f64> {
    let block = [0x5a; WRITE_BYTES];
    let file = File::options().create_new(true).write(true).open(path)?;
    for number in 0..WRITES {
        file.write_all_at(&block, number * WRITE_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut writes = 0;
    let start = Instant::now();
    while start.elapsed() < duration {
        file.write_all_at(&block, writes % WRITES * WRITE_BYTES as u64)?;
        file.sync_data()?;
        writes += 1;
    }
    let rate = writes as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("temp dir");
        let rate = fdatasyncs_per_second(dir.path(), Duration::from_millis(5)).expect("measures");
        assert!(rate > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
    }
}
