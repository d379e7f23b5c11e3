//! Tells a torn tail of SQLite's write-ahead log from damage in its middle.
//!
//! SQLite reads a WAL up to the first frame whose checksum is wrong and forgets the rest: right for a transaction that
//! was cut short by a crash, wrong for a flipped bit in front of transactions that were fsynced and answered. The two
//! can be told apart, because a transaction is only begun after the one before it was fsynced: a crash leaves broken
//! frames in the *last* transaction only. So a broken frame with a commit frame behind it, and further frames of the
//! same generation behind that, is damage.
//!
//! Format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::log_file::LogFileError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// Checks the WAL beside the database at `database`, if there is one.
///
/// # Errors
/// [`LogFileError::Damaged`] with the offset of the first broken frame when finished transactions lie behind it.
pub(super) fn check(database: &Path) -> Result<(), LogFileError> {
    let path = wal_path(database);
    let io = |source| LogFileError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut reader, &mut header).map_err(io)? {
        return Ok(());
    }
    let Some(mut scan) = Scan::begin(&header) else { return Ok(()) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + scan.page_bytes];
    while read_whole(&mut reader, &mut frame).map_err(io)? {
        scan.frame(&frame);
    }
    match scan.verdict() {
        Verdict::Sound => Ok(()),
        Verdict::Damaged { offset } => Err(LogFileError::Damaged {
            path,
            what: "write-ahead log",
            position: format!("offset {offset}"),
            reason: "a frame's checksum is wrong and finished transactions follow it".to_owned(),
        }),
    }
}

fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Fills `buffer`; `false` at the end of the file, also when it ends midway.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

enum Verdict {
    Sound,
    Damaged { offset: u64 },
}

struct Scan {
    page_bytes: usize,
    big_endian_sums: bool,
    salt: [u8; 8],
    sums: (u32, u32),
    frames: u64,
    first_broken: Option<u64>,
    commit_after_broken: bool,
    frames_after_that_commit: bool,
}

impl Scan {
    /// `None` when the header is no valid one: then SQLite uses no frame of the file at all, and neither did it when
    /// the file was last written, since the header is fsynced before the first commit.
    fn begin(header: &[u8; HEADER_BYTES]) -> Option<Scan> {
        let magic = be32(header, 0);
        if magic & !1 != MAGIC {
            return None;
        }
        let big_endian_sums = magic & 1 == 1;
        let sums = checksum(big_endian_sums, (0, 0), &header[..24]);
        if sums != (be32(header, 24), be32(header, 28)) {
            return None;
        }
        let page_bytes = be32(header, 8) as usize;
        if !(512..=65_536).contains(&page_bytes) {
            return None;
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[16..24]);
        Some(Scan {
            page_bytes,
            big_endian_sums,
            salt,
            sums,
            frames: 0,
            first_broken: None,
            commit_after_broken: false,
            frames_after_that_commit: false,
        })
    }

    fn frame(&mut self, frame: &[u8]) {
        let number = self.frames;
        self.frames += 1;
        let of_this_generation = frame[8..16] == self.salt;
        let commits = be32(frame, 4) != 0;
        if self.first_broken.is_none() {
            let sums = checksum(self.big_endian_sums, self.sums, &frame[..8]);
            let sums = checksum(self.big_endian_sums, sums, &frame[FRAME_HEADER_BYTES..]);
            if of_this_generation && sums == (be32(frame, 16), be32(frame, 20)) {
                self.sums = sums;
                return;
            }
            self.first_broken = Some(number);
        }
        if !of_this_generation {
            return;
        }
        if self.commit_after_broken {
            self.frames_after_that_commit = true;
        }
        self.commit_after_broken |= commits;
    }

    fn verdict(&self) -> Verdict {
        match self.first_broken {
            Some(frame) if self.frames_after_that_commit => {
                Verdict::Damaged { offset: HEADER_BYTES as u64 + frame * (FRAME_HEADER_BYTES + self.page_bytes) as u64 }
            }
            _ => Verdict::Sound,
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(big_endian: bool, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database whose WAL holds `transactions` finished transactions, copied away while still open.
    fn wal_with(transactions: usize) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temp dir");
        let live = dir.path().join("live.sqlite");
        crate::sql::prepare_process().expect("first");
        let connection = rusqlite::Connection::open(&live).expect("opens");
        connection.pragma_update(None, "journal_mode", "wal").expect("wal");
        connection.execute_batch("CREATE TABLE t (x)").expect("creates");
        for number in 0..transactions {
            connection.execute("INSERT INTO t VALUES (?1)", [number as i64]).expect("inserts");
        }
        let copy = dir.path().join("copy.sqlite");
        std::fs::copy(&live, &copy).expect("copies");
        std::fs::copy(wal_path(&live), wal_path(&copy)).expect("copies");
        (dir, copy)
    }

    fn flip(path: &Path, offset: usize) {
        let mut bytes = std::fs::read(path).expect("reads");
        bytes[offset] ^= 0x40;
        std::fs::write(path, bytes).expect("writes");
    }

    #[test]
    fn an_intact_wal_is_sound() {
        let (_dir, database) = wal_with(20);
        check(&database).expect("sound");
    }

    #[test]
    fn a_wal_cut_anywhere_is_a_torn_tail() {
        let (_dir, database) = wal_with(5);
        let wal = wal_path(&database);
        let length = std::fs::metadata(&wal).expect("wal").len();
        for cut in (0..length).step_by(517) {
            let file = File::options().write(true).open(&wal).expect("opens");
            file.set_len(length - cut).expect("cuts");
            check(&database).unwrap_or_else(|e| panic!("cut by {cut}: {e}"));
        }
    }

    #[test]
    fn a_flipped_bit_in_the_last_transaction_is_a_torn_tail() {
        let (_dir, database) = wal_with(5);
        let wal = wal_path(&database);
        flip(&wal, std::fs::metadata(&wal).expect("wal").len() as usize - 10);
        check(&database).expect("torn tail");
    }

    #[test]
    fn a_flipped_bit_before_finished_transactions_is_damage_with_its_offset() {
        let (_dir, database) = wal_with(20);
        let third_frame = HEADER_BYTES + 3 * (FRAME_HEADER_BYTES + 4096);
        flip(&wal_path(&database), third_frame + 100);
        let error = check(&database).expect_err("damage");
        assert!(error.to_string().contains(&format!("offset {third_frame}")), "{error}");
        assert!(error.to_string().contains("copy.sqlite-wal"), "{error}");
    }
}
