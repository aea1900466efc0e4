//! Reads SQLite's write-ahead log without SQLite (<https://sqlite.org/fileformat2.html#the_write_ahead_log>): its
//! contents must be known before SQLite applies it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// The first four bytes, except for the last bit, which gives the byte order of checksums.
const MAGIC: u32 = 0x377F_0682;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Distinguishes one log from the next in the same file.
type Salts = [u8; 8];

/// The path of a database's log.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    path_with(database, "-wal")
}

/// The path of a file that belongs to a database. SQLite looks for its log beside the file, not beside a link to it.
pub(crate) fn path_with(database: &Path, suffix: &str) -> PathBuf {
    beside(&real(database), suffix)
}

/// The path of a database with links resolved, if the file exists.
pub(crate) fn real(database: &Path) -> PathBuf {
    fs::canonicalize(database).unwrap_or_else(|_| database.to_owned())
}

/// The path with a suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Whether a database's log, or the journal that SQLite uses without one, contains anything.
pub(crate) fn has_log(database: &Path) -> bool {
    ["-wal", "-journal"]
        .iter()
        .any(|suffix| is_filled(&path_with(database, suffix)))
}

/// Whether a file exists and is not empty.
pub(crate) fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// One page in a log.
pub(crate) struct Frame<'a> {
    pub(crate) number: u32,
    pub(crate) page: &'a [u8],
    /// The length of the database in pages, if the frame is the last of a transaction. SQLite does not apply frames
    /// after the last one of these.
    pub(crate) commits: Option<u32>,
}

/// Calls `see` with each frame of a log in the order in which they were written, up to the first invalid one. A missing
/// log has no frames.
pub(crate) fn read(path: &Path, mut see: impl FnMut(&Frame<'_>)) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut header = [0; HEADER];
    if !fill(&mut file, &mut header)? {
        return Ok(());
    }
    let Some(start) = Start::of(&header) else {
        return Ok(());
    };
    let mut sum = start.sum;
    let mut frame = vec![0; FRAME_HEADER + start.page];
    while fill(&mut file, &mut frame)? {
        let Some(sound) = sound(&frame, &start, &mut sum) else {
            return Ok(());
        };
        see(&sound);
    }
    Ok(())
}

/// The header of a log.
struct Start {
    page: usize,
    big_endian: bool,
    salts: Salts,
    sum: (u32, u32),
}

impl Start {
    /// Returns `None` if SQLite would find nothing in this log.
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        let magic = word(header, 0)?;
        let page = usize::try_from(word(header, 8)?).ok()?;
        let big_endian = magic & 1 == 1;
        let sum = checksum((0, 0), header.get(..24)?, big_endian);
        let sound = magic & !1 == MAGIC
            && page.is_power_of_two()
            && (512..=65_536).contains(&page)
            && (word(header, 24)?, word(header, 28)?) == sum;
        sound.then_some(Self {
            page,
            big_endian,
            salts: *header.get(16..)?.first_chunk()?,
            sum,
        })
    }
}

/// Returns the frame if it belongs to this log and is complete.
fn sound<'a>(frame: &'a [u8], start: &Start, sum: &mut (u32, u32)) -> Option<Frame<'a>> {
    let page = frame.get(FRAME_HEADER..)?;
    *sum = checksum(*sum, frame.get(..8)?, start.big_endian);
    *sum = checksum(*sum, page, start.big_endian);
    let number = word(frame, 0)?;
    let sound =
        number != 0 && frame.get(8..16)? == start.salts && (word(frame, 16)?, word(frame, 20)?) == *sum;
    sound.then_some(Frame {
        number,
        page,
        commits: word(frame, 4).filter(|length| *length != 0),
    })
}

/// Fills the buffer; returns `false` if the file ends before.
pub(crate) fn fill(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum of bytes after others whose checksum is `(a, b)`.
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for [a0, a1, a2, a3, b0, b1, b2, b3] in pairs {
        let (one, two) = ([*a0, *a1, *a2, *a3], [*b0, *b1, *b2, *b3]);
        let [one, two] = if big_endian {
            [one, two].map(u32::from_be_bytes)
        } else {
            [one, two].map(u32::from_le_bytes)
        };
        a = a.wrapping_add(one).wrapping_add(b);
        b = b.wrapping_add(two).wrapping_add(a);
    }
    (a, b)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_be_bytes(*word))
}
