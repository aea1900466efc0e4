//! Every way in which the database can fail its callers, and the mapping of SQLite's codes to them.

use std::io;
use std::path::{Path, PathBuf};

use gateway_model::clock::RandomError;
use gateway_model::{UserId, ValueRefusal};
use rusqlite::{ErrorCode, ffi};

use crate::owned::Unsafe;
/// The database cannot be used. If a message says that nothing was changed, no byte of the files was.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum OpenError {
    /// It belongs to another program (its `application_id` is not ours), or is not an SQLite database. No byte of it
    /// was changed.
    #[error(
        "{} is not a database of this gateway, or its beginning is destroyed, and was left untouched: name another file \
         in DATABASE_URL, or restore it from a backup",
        .0.display()
    )]
    NotOurs(PathBuf),
    /// A newer gateway has migrated it. Its contents were left as they are.
    #[error("{} was written by a newer gateway (schema {found}, this one knows {known}): run that one", path.display())]
    TooNew { path: PathBuf, found: i64, known: i64 },
    /// Its log belongs to another file.
    #[error(
        "{} is not the log of {}: another file was copied over the database while the old log was still there, and \
         SQLite would mix the two. Nothing was changed. Restore the backup with `gateway restore FILE`, which moves the \
         old files aside. Or, to keep the database that is there, move its old log away with `mv {} {}.old`",
        log.display(), path.display(), log.display(), log.display()
    )]
    ForeignLog { path: PathBuf, log: PathBuf },
    /// Its log may belong to another file.
    #[error(
        "it is not clear whether {} is the log of {}: the file is damaged or cut short, or another was copied over it, \
         and SQLite might mix the two. Nothing was changed. Restore a backup with `gateway restore FILE`, which moves the \
         old files aside. Or, to go on with the file without its log, move the log away with `mv {} {}.old`",
        log.display(), path.display(), log.display(), log.display()
    )]
    UnknownLog { path: PathBuf, log: PathBuf },
    /// The file is missing or empty, and its log is still there.
    #[error(
        "{} is missing or empty, but its log {} is still there: an empty database would destroy what is in the log. \
         Nothing was changed. Put the database file back. Or restore a backup with `gateway restore FILE`, which moves \
         the log aside. Or, to begin with an empty database, move the log away with `mv {} {}.old`",
        path.display(), log.display(), log.display(), log.display()
    )]
    LogAlone { path: PathBuf, log: PathBuf },
    /// Another user may change or replace it.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// A process has the database open, but not the file that is there now.
    #[error(
        "{} was moved, removed or replaced while a gateway has it open. Nothing was changed. Put the file back that was \
         there, or stop the gateway and then use the file that is there now",
        path.display()
    )]
    Replaced { path: PathBuf },
    /// It has several names. The database would have a separate log under each, and a file beside it could be
    /// overwritten under its other name.
    #[error(
        "{} has {links} names (hard links), and the gateway's database and the files beside it must have one each. Nothing was \
         changed. Remove the other names: `find DIRECTORY -samefile {}` finds them",
        path.display(), path.display()
    )]
    Linked { path: PathBuf, links: u64 },
    /// A process has it open under another name, with another log.
    #[error(
        "{} is in use under another name: another process has opened the same file from another directory or by another \
         file name (a bind mount of the file alone, a hard link, or a file that was moved), and a second write-ahead log would \
         destroy its changes. Nothing was changed. Use the name that the gateway uses, or stop the gateway first; to share \
         the database with a container, mount its directory, not the file",
        .0.display()
    )]
    Elsewhere(PathBuf),
    /// It is a symbolic link, and a log beside the link would be ignored.
    #[error(
        "{} is a symbolic link, and beside it is {}, the log of a database that was moved away from it: the changes that \
         are only in this log would be lost. Nothing was changed. Move the database back beside its log, start the gateway \
         there and stop it again, and move it then. Or, to go on without the log, move it away with `mv {} {}.old`",
        path.display(), log.display(), log.display(), log.display()
    )]
    StrandedLog { path: PathBuf, log: PathBuf },
    /// It, or a file that SQLite keeps beside it, is not a regular file.
    #[error("{} is {kind}, not a regular file: remove it, or name another database in DATABASE_URL", path.display())]
    NotAFile { path: PathBuf, kind: &'static str },
    /// The file of an interrupted restore is not a sound database that this gateway may install.
    #[error(
        "{} looks like what an interrupted `gateway restore` leaves, and was not installed: {why}. Nothing was changed. \
         Move it away with `mv {} {}.old`, then run `gateway restore` again, or go on with the database that is there; if \
         the database is missing, it is beside this file under a name with `.before-`",
        path.display(), path.display(), path.display()
    )]
    Unrestored { path: PathBuf, why: String },
    /// An older gateway has written it, and reading it may not change it.
    #[error(
        "{} was written by an older gateway (schema {found}, this one knows {known}), and reading it would change it: \
         restore it to another place with `gateway restore {} --database sqlite:////NEW/FILE`, and read that one",
        path.display(), path.display()
    )]
    TooOld { path: PathBuf, found: i64, known: i64 },
    /// It is damaged.
    #[error(
        "{} is damaged ({detail}): restore a backup with `gateway restore FILE`, or try to recover its rows with SQLite: \
         `sqlite3 {} .recover`",
        path.display(), path.display()
    )]
    Corrupt { path: PathBuf, detail: String },
    /// Its tables are not those of this gateway.
    #[error(
        "the schema of {} is not this gateway's ({detail}): someone has changed it, or it is damaged: restore a backup with \
         `gateway restore FILE`, or try to recover its rows with SQLite: `sqlite3 {} .recover`",
        path.display(), path.display()
    )]
    Schema { path: PathBuf, detail: String },
    /// It cannot be created, read or written.
    #[error("{} cannot be written: {hint}", path.display())]
    Unwritable { path: PathBuf, hint: String },
    /// Another process has locked it.
    #[error("{} is locked by another process: end that process, or try again", .0.display())]
    Busy(PathBuf),
    /// The disk is full.
    #[error("{}: the disk is full", .0.display())]
    Full(PathBuf),
    /// A temporary database cannot be created.
    #[error("cannot create a temporary database: {0}")]
    Temporary(#[source] io::Error),
    /// The writer's thread cannot be started.
    #[error("cannot start the thread of the database's writer: {0}")]
    Thread(#[source] io::Error),
    /// Another failure of SQLite.
    #[error("{}: {detail}", path.display())]
    Sqlite { path: PathBuf, detail: String },
}

/// Turns an error of the operating system or of SQLite into one that names the file.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, OpenError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, OpenError> {
        self.map_err(|error| OpenError::unwritable(path, &error))
    }
}

impl<T> At<T> for rusqlite::Result<T> {
    fn at(self, path: &Path) -> Result<T, OpenError> {
        self.map_err(|error| OpenError::sqlite(path, &error))
    }
}

impl OpenError {
    /// A file or directory cannot be written, or not even reached.
    pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "this user may not write there: change the owner or the mode of the file and its directory"
                    .into()
            }
            io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only".into(),
            io::ErrorKind::NotADirectory => "part of its path is not a directory".into(),
            _ => error.to_string(),
        };
        Self::Unwritable {
            path: path.to_owned(),
            hint,
        }
    }

    fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, detail },
            _ if is_of_schema(error) => Self::Schema { path, detail },
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                let hint = format!(
                    "{detail}: this user must be able to write the file and to make files in its directory"
                );
                Self::Unwritable { path, hint }
            }
            _ => Self::Sqlite { path, detail },
        }
    }
}

/// A read or a write failed. A write that returns this had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process held the database locked for longer than we wait. Retrying may help.
    #[error("the database is locked by another process")]
    Busy,
    /// Writes arrive faster than the disk accepts them. Retrying may help.
    #[error("too many writes wait for the database")]
    Overloaded,
    /// The disk is full. Writes work again as soon as there is room.
    #[error("the database's disk is full")]
    Full,
    /// The file has become read-only.
    #[error("the database is read-only")]
    ReadOnly,
    /// Reading, writing or syncing the file failed.
    #[error("the database's file fails: {0}")]
    Io(String),
    /// The open file is no longer the one at its path. Nothing is written until it is back.
    #[error(
        "{0} was moved, removed or replaced while the gateway has it open, and nothing is written to the database any \
         more: put the file back, or restart the gateway to use the file that is there now"
    )]
    Replaced(String),
    /// The file was opened for reading while no process used it, and has changed since.
    #[error("{0} was changed while it was read: a gateway may have been started. Run the command again")]
    Changed(String),
    /// The file is damaged, or contains data that this gateway never writes.
    #[error(
        "the database is damaged ({0}): restore a backup with `gateway restore FILE`, or try to recover its rows with \
         SQLite: `sqlite3 DATABASE .recover`"
    )]
    Corrupt(String),
    /// The tables are not those of this gateway: the file is damaged, or was changed while it was open, by hand or by a
    /// newer gateway.
    #[error(
        "the database's schema is not this gateway's ({0}): a newer gateway or someone else has changed it, or it is \
         damaged: restore a backup with `gateway restore FILE`, or try to recover its rows with SQLite: `sqlite3 DATABASE \
         .recover`"
    )]
    Schema(String),
    /// The store was closed.
    #[error("the database is closed")]
    Closed,
    /// There was no randomness for an id.
    #[error("no randomness for an id: {0}")]
    Random(String),
    /// Another failure of SQLite.
    #[error("the database fails: {0}")]
    Sqlite(String),
}

impl StoreError {
    /// Adds the path of the file, if the operator has to examine the file.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        if let Self::Corrupt(detail) | Self::Schema(detail) | Self::Io(detail) | Self::Sqlite(detail) =
            &mut self
        {
            *detail = format!("{}: {detail}", path.display());
        }
        self
    }

    /// Whether the connection should be replaced, because its view of the file may be wrong.
    pub(crate) const fn taints_connection(&self) -> bool {
        matches!(
            self,
            Self::Io(_) | Self::Corrupt(_) | Self::Schema(_) | Self::ReadOnly | Self::Sqlite(_)
        )
    }
}

/// Whether SQLite cannot run a statement. All SQL is ours and fits our schema, so the schema must differ.
fn is_of_schema(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(ffi::SQLITE_ERROR)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::NoLargeFileSupport) => {
                Self::Io(detail)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(detail),
            _ if is_of_schema(&error) => Self::Schema(detail),
            Some(_) => Self::Sqlite(detail),
            None => match error {
                E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)
                | E::Utf8Error(..) => Self::Corrupt(detail),
                _ => Self::Sqlite(detail),
            },
        }
    }
}

impl From<RandomError> for StoreError {
    fn from(error: RandomError) -> Self {
        Self::Random(error.0)
    }
}

/// The reason why a sign-in cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// An operator has disabled the user.
    #[error("the user is disabled")]
    Disabled(UserId),
    /// Under [`crate::UserIds::EmailMd5`]: the address, or the id made from it, belongs to another user, to whom the
    /// identity may not be linked.
    #[error(
        "user_ids = \"email-md5\": the address belongs to another user, to whom this identity may not be linked"
    )]
    EmailInUse,
    /// Too many new users of this provider wait for the hooks.
    #[error("{0} new users of this provider wait for the on-new-user hooks already")]
    TooManyNewUsers(u64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for SignInError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The reason why a value was not written. It is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The change is not allowed.
    #[error(transparent)]
    Refused(#[from] ValueRefusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The error type of a write: a failure of the database, or a refusal by the write itself.
pub(crate) trait WriteError: From<StoreError> + Send + 'static {
    /// The failure of the database, if it is one.
    fn failure(&self) -> Option<&StoreError>;

    /// Adds the path of the file to a failure of the database.
    fn in_file(self, path: &Path) -> Self {
        match self.failure() {
            Some(failure) => failure.clone().in_file(path).into(),
            None => self,
        }
    }
}

impl WriteError for StoreError {
    fn failure(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl WriteError for SignInError {
    fn failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Disabled(_) | Self::EmailInUse | Self::TooManyNewUsers(_) => None,
        }
    }
}
