//! Opening the file: is it ours, may we write it, is its schema the one we know.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use gateway_model::Random;
use gateway_model::file::kind;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use crate::addresses;
use crate::error::{OpenError, is_of_schema};
use crate::file_id::OpenFiles;
use crate::lineage::{self, Main, Refusal};
use crate::place::{self, Place, Users};
use crate::versions::{self, Versions};
use crate::{owned, restore, wal};

/// "AuGW": what SQLite keeps at byte 68 of a database of ours.
pub(crate) const APPLICATION_ID: i32 = 0x4175_4757;

/// The schema's history, oldest first. Landed files are never edited, removed or reordered.
pub(crate) static MIGRATIONS: LazyLock<[M<'static>; 7]> = LazyLock::new(|| {
    [
        M::up(include_str!("../../../migrations/0001_users_sessions_events.sql")),
        M::up(include_str!("../../../migrations/0002_plugin_values.sql")),
        M::up(include_str!(
            "../../../migrations/0003_bounds_and_separations.sql"
        )),
        M::up(include_str!("../../../migrations/0004_log_stamp_and_clock.sql")),
        M::up(include_str!("../../../migrations/0005_plugin_value_storage.sql")),
        // SQLite has no SHA-256.
        M::up_with_hook(
            include_str!("../../../migrations/0006_given_addresses.sql"),
            |transaction: &Transaction<'_>| Ok(addresses::fill(transaction)?),
        ),
        M::up(include_str!("../../../migrations/0007_upstream_sessions.sql")),
    ]
});

/// How long the writer waits for another process (the command line, a backup) to commit.
pub(crate) const WRITER_PATIENCE: Duration = Duration::from_secs(5);
/// Readers wait for nobody in WAL mode, but for a moment while another process recovers or closes.
const READER_PATIENCE: Duration = Duration::from_millis(250);
/// How long we wait for another process that is opening a database in the same directory.
const OPENING_PATIENCE: Duration = Duration::from_secs(15);
/// How long we wait for another process whose log is gone: it may be closing the database.
const CLOSING_PATIENCE: Duration = Duration::from_secs(3);

/// A database that is open.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The files that must stay where they are, under an absolute path.
    pub(crate) files: OpenFiles,
    /// The file by which processes know of each other.
    pub(crate) versions: Versions,
}

/// Opens the file for writing; creates it, for its owner alone, where there is none; finishes a restore that was
/// interrupted; brings its schema up to date.
///
/// # Errors
/// See [`OpenError`]. A file that is not ours has not been touched: neither its bytes nor its
/// directory.
pub(crate) fn open(path: &Path, patience: Duration, random: &dyn Random) -> Result<Opened, OpenError> {
    let path = std::path::absolute(path).map_err(|error| unwritable(path, &error))?;
    owned::database(&path)?;
    let _only_us = lock_directory(&path)?;
    settle(&path)?;
    let alone = is_alone(&path);
    if look(&path, alone)?.is_none() {
        create(&path)?;
    }
    // Before SQLite opens the file, and given up after it has closed it.
    let place = Place::take(&path)?;

    let mut connection = connect(&path, patience).map_err(|error| failed(&path, &error))?;
    place.check(&path)?;
    if connection
        .is_readonly("main")
        .map_err(|error| failed(&path, &error))?
    {
        let hint = "the file is read-only for this user: change its owner or its mode".into();
        return Err(OpenError::Unwritable { path, hint });
    }
    let migrations = Migrations::from_slice(&*MIGRATIONS);
    let found = claim(&mut connection, &path)?;
    if found > known() {
        let known = known();
        return Err(OpenError::TooNew { path, found, known });
    }
    configure(&connection, &path)?;
    if found < known() {
        // The log must say which file it continues from before a migration changes that.
        begin_log(&connection, alone);
        migrations
            .to_latest(&mut connection)
            .map_err(|error| match error {
                rusqlite_migration::Error::RusqliteError { err, .. } => failed(&path, &err),
                error => OpenError::Sqlite {
                    path: path.clone(),
                    detail: error.to_string(),
                },
            })?;
        if found > 0 {
            tracing::info!(database = %path.display(), from = found, to = known(), "the database's schema was updated");
        }
    }
    begin_log(&connection, alone);
    let versions = Versions::open(&path, random);
    let files = OpenFiles::of(path.clone(), Some(place)).map_err(|error| unwritable(&path, &error))?;
    versions.record(&files);
    Ok(Opened {
        connection,
        files,
        versions,
    })
}

/// Looks at the place of a database without changing anything. Returns how large the file is that is there, if one is.
///
/// # Errors
/// What is in the way of using it.
pub(crate) fn look(path: &Path, alone: bool) -> Result<Option<u64>, OpenError> {
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => Err(OpenError::NotAFile {
            path: path.to_owned(),
            kind: kind(file.file_type()),
        }),
        Ok(file) if file.len() > 0 => {
            check_links(path, &file)?;
            inspect(path)?;
            // Whoever uses it already has looked, and is changing both files.
            // defence: foreign-logs-are-refused (a test fails without it: docs/defences.md)
            if alone {
                check_log(path)?;
            }
            Ok(Some(file.len()))
        }
        Ok(file) => {
            check_links(path, &file)?;
            check_no_log(path)?;
            Ok(Some(0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_no_log(path)?;
            Ok(None)
        }
        Err(error) => Err(unwritable(path, &error)),
    }
}

/// Finishes a restore that was interrupted. While somebody has the database open there can be none; then refuses files
/// that are not those that are open under their names. The directory must be locked.
///
/// # Errors
/// [`OpenError::Replaced`], and those of [`restore::finish`].
pub(crate) fn settle(path: &Path) -> Result<(), OpenError> {
    if !check_files(path)? {
        return restore::finish(path).map(drop);
    }
    if restore::is_interrupted(path) {
        tracing::warn!(
            database = %path.display(),
            "beside the database is a file with `-restore` at its end, as if a restore were to be finished, but the database \
             is in use: move that file away, or the next start installs it"
        );
    }
    Ok(())
}

/// Whether somebody has the database open. Refuses files that are not those that they have open under their names, and a
/// database that somebody has open under another name.
///
/// # Errors
/// [`OpenError::Replaced`], [`OpenError::Elsewhere`], [`OpenError::StrandedLog`], and those of [`check_kinds`].
pub(crate) fn check_files(path: &Path) -> Result<bool, OpenError> {
    check_kinds(path)?;
    let begun = Instant::now();
    while versions::in_use(path) {
        let replaced = versions::recorded(path).and_then(|record| record.replaced(path));
        match replaced {
            None => break,
            // Whoever closes the database deletes its log, and then lets go of the file of versions.
            Some(gone) if gone != path && !gone.exists() && begun.elapsed() < CLOSING_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Some(path) => return Err(OpenError::Replaced { path }),
        }
    }
    let begun = Instant::now();
    let used = loop {
        let (refused, patience) = match place::users(path) {
            Users::None => break versions::in_use(path),
            Users::Here if versions::in_use(path) => break true,
            // Somebody has removed the file of versions, and with it the record of the log. While the database is open,
            // SQLite has both of these files.
            Users::Here => match ["-wal", "-shm"]
                .map(|suffix| wal::path_with(path, suffix))
                .into_iter()
                .find(|file| !file.exists())
            {
                None => break true,
                Some(path) => (OpenError::Replaced { path }, CLOSING_PATIENCE),
            },
            Users::Elsewhere => (place::elsewhere(path), place::ELSEWHERE_PATIENCE),
        };
        if begun.elapsed() >= patience {
            return Err(refused);
        }
        std::thread::sleep(place::PAUSE);
    };
    check_own_log(path)?;
    Ok(used)
}

/// Whether nobody has the database open.
pub(crate) fn is_alone(path: &Path) -> bool {
    versions::alone(path) && place::users(path) == Users::None
}

/// Refuses anything but regular files, for the database and for what is kept beside it: a pipe would keep us waiting, and what
/// is written through a link would end up in another file.
///
/// # Errors
/// [`OpenError::NotAFile`], [`OpenError::Linked`].
pub(crate) fn check_kinds(path: &Path) -> Result<(), OpenError> {
    let refused = |path: &Path, kind| {
        let path = path.to_owned();
        Err(OpenError::NotAFile { path, kind })
    };
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => return refused(path, kind(file.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return refused(path, "a symbolic link that leads nowhere");
        }
        // Whoever opens it finds out.
        _ => {}
    }
    for suffix in ["-wal", "-shm", "-journal", "-versions"] {
        let beside = wal::path_with(path, suffix);
        match fs::symlink_metadata(&beside) {
            Ok(file) if !file.is_file() => return refused(&beside, kind(file.file_type())),
            Ok(file) => check_links(&beside, &file)?,
            // What is not there has no kind.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Refuses a link to a database whose log was left beside the link.
///
/// # Errors
/// [`OpenError::StrandedLog`].
fn check_own_log(path: &Path) -> Result<(), OpenError> {
    if path.is_symlink() {
        for suffix in ["-wal", "-journal"] {
            let mut log = path.as_os_str().to_owned();
            log.push(suffix);
            if fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
                let (path, log) = (path.to_owned(), log.into());
                return Err(OpenError::StrandedLog { path, log });
            }
        }
    }
    Ok(())
}

/// Refuses a file that has more than one name.
///
/// # Errors
/// [`OpenError::Linked`].
pub(crate) fn check_links(path: &Path, file: &fs::Metadata) -> Result<(), OpenError> {
    match file.nlink() {
        0 | 1 => Ok(()),
        links => Err(OpenError::Linked {
            path: path.to_owned(),
            links,
        }),
    }
}

/// Makes the file differ from every copy that was made of it before, where nobody else has it open.
fn begin_log(connection: &Connection, alone: bool) {
    let begun = || -> rusqlite::Result<()> {
        if alone && lineage::has_table(connection)? {
            lineage::stamp(connection)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    };
    if let Err(error) = begun() {
        // A full disk, say: whatever writes next will find out.
        tracing::warn!(%error, "the database's log could not be marked: a backup copied over it may not be noticed");
    }
}

/// Refuses a database whose log belongs to another file, or may do so, before SQLite applies it.
///
/// # Errors
/// [`OpenError::ForeignLog`], [`OpenError::UnknownLog`].
pub(crate) fn check_log(path: &Path) -> Result<(), OpenError> {
    check_log_of(path, false)
}

/// The same, where a log must prove that it belongs to the file: nobody looks after it as after the database's own.
///
/// # Errors
/// [`OpenError::ForeignLog`], [`OpenError::UnknownLog`].
pub(crate) fn check_log_strictly(path: &Path) -> Result<(), OpenError> {
    check_log_of(path, true)
}

fn check_log_of(path: &Path, strictly: bool) -> Result<(), OpenError> {
    let main = || Main::read(&open_immutable(path).ok()?);
    let refused = lineage::refused_log(path, strictly, main);
    let path = path.to_owned();
    match refused {
        Some((log, Refusal::Foreign)) => Err(OpenError::ForeignLog { path, log }),
        Some((log, Refusal::Unknown)) => Err(OpenError::UnknownLog { path, log }),
        None => Ok(()),
    }
}

/// Refuses the place of a database that is missing or empty where its log is still there: SQLite would delete it.
fn check_no_log(path: &Path) -> Result<(), OpenError> {
    let log = wal::path_of(path);
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let path = path.to_owned();
        return Err(OpenError::LogAlone { path, log });
    }
    Ok(())
}

/// Opens the file, which [`open`] has found in order before, for writing once more.
///
/// # Errors
/// SQLite's.
pub(crate) fn reopen(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let connection = connect(path, patience)?;
    connection.execute_batch(DURABLE)?;
    Ok(connection)
}

/// Opens the file, which [`open`] has found in order before, for reading.
///
/// # Errors
/// SQLite's.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(READER_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a file that [`open`] or a read has found to be damaged, for reading what is left: whatever the log adds is
/// seen, nothing is copied back.
///
/// # Errors
/// When it is not ours, of a newer gateway, or cannot be read at all.
pub(crate) fn open_damaged(path: &Path) -> Result<(Connection, Option<Place>), OpenError> {
    check_files(path)?;
    let unused = reading::is_unused(path);
    if is_alone(path) {
        check_log(path)?;
    }
    let place = if unused { None } else { Some(Place::take(path)?) };
    let opened = || -> rusqlite::Result<Connection> {
        // Where there is nothing beside the file, nothing is left there.
        if unused {
            open_immutable(path)
        } else {
            open_reader(path)
        }
    };
    let connection = opened().map_err(|error| failed(path, &error))?;
    if let Some(place) = &place {
        place.check(path)?;
    }
    let read = || -> rusqlite::Result<(i32, i64)> {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // A file that was cut short is read as far as it goes, and a schema likewise.
        connection.pragma_update(None, "writable_schema", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((id, version))
    };
    match read() {
        Ok((_, version)) if version > known() => Err(OpenError::TooNew {
            path: path.to_owned(),
            found: version,
            known: known(),
        }),
        Ok((APPLICATION_ID, _)) => Ok((connection, place)),
        Ok(_) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(path, &error)),
    }
}

/// How many migrations this gateway has.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What holds for every connection that writes. `FULL` syncs the log at every commit: what was
/// acknowledged survives a power cut (`NORMAL` would lose the latest commits). `fullfsync` makes that
/// true on macOS as well. The log is copied back every 4,000 pages (16 MiB) and then cut to size.
const DURABLE: &str = "
    -- defence: commits-are-synced (a test fails without it: docs/defences.md)
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
";

fn connect(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    // No CREATE: a file that has gone is not quietly replaced by an empty one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn configure(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| failed(path, &error))?;
    if mode != "wal" {
        let hint = "its file system cannot do shared memory, which WAL mode needs: use a local disk".into();
        return Err(OpenError::Unwritable {
            path: path.to_owned(),
            hint,
        });
    }
    connection
        .execute_batch(DURABLE)
        .map_err(|error| failed(path, &error))
}

/// Looks into a file that may be anybody's. `immutable` keeps SQLite from locking it, from rolling
/// back its journal and from making files beside it; going through SQLite at all, and not reading the
/// header ourselves, matters because closing a file drops every lock this process has on it.
///
/// The log is not looked at, so a file of ours may seem to be shorter than its header says: its log is
/// just being copied back, or was when its process was killed. `writable_schema` is what makes SQLite
/// read the header all the same.
pub(crate) fn inspect(path: &Path) -> Result<(), OpenError> {
    let id = || -> rusqlite::Result<i32> {
        open_immutable(path)?.pragma_query_value(None, "application_id", |row| row.get(0))
    };
    match id() {
        Ok(APPLICATION_ID) => Ok(()),
        Ok(_) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(path, &error)),
    }
}

/// Opens a file that nobody changes, for reading.
///
/// # Errors
/// SQLite's.
pub(crate) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(immutable_uri(path), flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(crate) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_unchanging(path)?;
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    uri
}

/// Makes an empty file ours, where the operator has put one; sees to it that any other is. Gives how
/// many migrations the database has seen.
fn claim(connection: &mut Connection, path: &Path) -> Result<i64, OpenError> {
    let mut claimed = || -> rusqlite::Result<(i32, i64)> {
        let transaction = connection.transaction()?;
        let mut id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let things: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if id == 0 && version == 0 && things == 0 {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            id = APPLICATION_ID;
        }
        transaction.commit()?;
        Ok((id, version))
    };
    match claimed() {
        Ok((APPLICATION_ID, version)) => Ok(version),
        Ok(_) => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(path, &error)),
    }
}

/// A database appears under its name when it is ours, on the disk, and readable by its owner alone
/// (SQLite gives its log and index the same mode): a power cut leaves all of it or nothing.
fn create(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let draft = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".db")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(|error| unwritable(path, &error))?;
    let claimed = || -> rusqlite::Result<()> {
        let connection = Connection::open(draft.path())?;
        // No journal to be left behind: it is the name that is atomic.
        connection.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)
    };
    claimed().map_err(|error| failed(path, &error))?;
    let named = || -> io::Result<()> {
        draft.as_file().sync_all()?;
        draft.persist_noclobber(path)?;
        File::open(parent)?.sync_all()
    };
    named().map_err(|error| unwritable(path, &error))
}

/// Two that open at once must not both create, or both migrate. The directory is what is locked, so
/// that no further file is needed; the lock ends with the value. A file system that cannot lock
/// directories goes without: SQLite's own locks still hold.
pub(crate) fn lock_directory(path: &Path) -> Result<Option<File>, OpenError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = File::open(parent).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Unwritable {
            path: path.to_owned(),
            hint: format!("the directory {} does not exist: create it", parent.display()),
        },
        _ => unwritable(path, &error),
    })?;
    let begun = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < OPENING_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> OpenError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this user may not write there: change the owner or the mode of the file and its directory".into()
        }
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only".into(),
        io::ErrorKind::NotADirectory => "part of its path is not a directory".into(),
        _ => error.to_string(),
    };
    OpenError::Unwritable {
        path: path.to_owned(),
        hint,
    }
}

pub(crate) fn failed(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Corrupt { path, detail },
        _ if is_of_schema(error) => OpenError::Schema { path, detail },
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            let hint = format!(
                "{detail}: this user must be able to write the file and to make files in its directory"
            );
            OpenError::Unwritable { path, hint }
        }
        _ => OpenError::Sqlite { path, detail },
    }
}

pub(crate) mod reading;
#[cfg(test)]
mod tests;
