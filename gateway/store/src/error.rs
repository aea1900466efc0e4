//! Every way the database can fail its callers, and how SQLite's codes become one of them.

use std::io;
use std::path::{Path, PathBuf};

use gateway_model::clock::RandomError;
use gateway_model::{UserId, ValueRefusal};
use rusqlite::{ErrorCode, ffi};

use crate::owned::Unsafe;

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is another program's database (its `application_id` is not ours), or no SQLite database at
    /// all. Not a byte of it was changed.
    #[error(
        "{} is not a database of this gateway, or its beginning is destroyed, and was left untouched: name another file \
         in DATABASE_URL, or restore it from a backup",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A newer gateway has migrated it. What it holds was left as it is.
    #[error("{} was written by a newer gateway (schema {found}, this one knows {known}): run that one", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// How many migrations it has seen.
        found: i64,
        /// How many this gateway has.
        known: i64,
    },
    /// Its log belongs to another file. Not a byte was changed.
    #[error(
        "{} is not the log of {}: another file was copied over the database while the old log was still there, and \
         SQLite would mix the two. Nothing was changed. Restore the backup with `gateway restore FILE`, which moves the \
         old files aside. Or, to keep the database that is there, move its old log away with `mv {} {}.old`",
        log.display(), path.display(), log.display(), log.display()
    )]
    ForeignLog {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// It does not say whether the log beside it is its own. Not a byte was changed.
    #[error(
        "it cannot be told whether {} is the log of {}: the file is damaged or cut short, or another was copied over it, \
         and SQLite might mix the two. Nothing was changed. Restore a backup with `gateway restore FILE`, which moves the \
         old files aside. Or, to go on with the file without its log, move the log away with `mv {} {}.old`",
        log.display(), path.display(), log.display(), log.display()
    )]
    UnknownLog {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The file is gone or empty, and its log is still there. Not a byte was changed.
    #[error(
        "{} is missing or empty, but its log {} is still there: an empty database would destroy what is in the log. \
         Nothing was changed. Put the database file back. Or restore a backup with `gateway restore FILE`, which moves \
         the log aside. Or, to begin with an empty database, move the log away with `mv {} {}.old`",
        path.display(), log.display(), log.display(), log.display()
    )]
    LogAlone {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// Somebody else may change it or put another in its place.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// A process that has the database open has another file open than the one that is there now. Not a byte was changed.
    #[error(
        "{} was moved, removed or replaced while a gateway has it open. Nothing was changed. Put the file back that was \
         there, or stop the gateway and then use the file that is there now",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// It has several names. Each name of a database would have a log of its own, and what is written beside it would end up
    /// under another name too. Not a byte was changed.
    #[error(
        "{} has {links} names (hard links), and the gateway's database and the files beside it must have one each. Nothing was \
         changed. Remove the other names: `find DIRECTORY -samefile {}` finds them",
        path.display(), path.display()
    )]
    Linked {
        /// The file.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// Somebody has it open under another name, and with another log. Not a byte was changed.
    #[error(
        "{} is in use under another name: another process has opened the same file from another directory or by another \
         file name (a bind mount of the file alone, a hard link, or a file that was moved), and a second write-ahead log would \
         destroy its changes. Nothing was changed. Use the name that the gateway uses, or stop the gateway first; to share \
         the database with a container, mount its directory, not the file",
        path.display()
    )]
    Elsewhere {
        /// The file.
        path: PathBuf,
    },
    /// Its name is a symbolic link, and beside the link is a log that would be left out. Not a byte was changed.
    #[error(
        "{} is a symbolic link, and beside it is {}, the log of a database that was moved away from it: the changes that \
         are only in this log would be lost. Nothing was changed. Move the database back beside its log, start the gateway \
         there and stop it again, and move it then. Or, to go on without the log, move it away with `mv {} {}.old`",
        path.display(), log.display(), log.display(), log.display()
    )]
    StrandedLog {
        /// The link.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// It, or what SQLite keeps beside it, is not a regular file.
    #[error("{} is {kind}, not a regular file: remove it, or name another database in DATABASE_URL", path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// What an interrupted restore left is not a sound database that this gateway may install. Not a byte was changed.
    #[error(
        "{} looks like what an interrupted `gateway restore` leaves, and was not installed: {why}. Nothing was changed. \
         Move it away with `mv {} {}.old`, then run `gateway restore` again, or go on with the database that is there; if \
         the database is missing, it is beside this file under a name with `.before-`",
        path.display(), path.display(), path.display()
    )]
    Unrestored {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An older gateway has written it, and it was to be read without being changed.
    #[error(
        "{} was written by an older gateway (schema {found}, this one knows {known}), and reading it would change it: \
         restore it to another place with `gateway restore {} --database sqlite:////NEW/FILE`, and read that one",
        path.display(), path.display()
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// How many migrations it has seen.
        found: i64,
        /// How many this gateway has.
        known: i64,
    },
    /// It is damaged.
    #[error(
        "{} is damaged ({detail}): restore a backup with `gateway restore FILE`, or try to recover its rows with SQLite: \
         `sqlite3 {} .recover`",
        path.display(), path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Its tables are not those that this gateway makes.
    #[error(
        "the schema of {} is not this gateway's ({detail}): someone has changed it, or it is damaged: restore a backup with \
         `gateway restore FILE`, or try to recover its rows with SQLite: `sqlite3 {} .recover`",
        path.display(), path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// It cannot be created, read or written where it is.
    #[error("{} cannot be written: {hint}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What is in the way and what to do.
        hint: String,
    },
    /// Another process holds it locked.
    #[error("{} is locked by another process: end that process, or try again", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("{}: the disk is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// No place for a temporary database.
    #[error("no temporary database can be made: {0}")]
    Temporary(#[source] io::Error),
    /// The operating system gave no thread for the writer.
    #[error("no thread for the database's writer: {0}")]
    Thread(#[source] io::Error),
    /// SQLite fails in a way that has no better name.
    #[error("{}: {detail}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
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

    /// SQLite cannot use the file.
    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, detail },
            _ if is_of_schema(error) => Self::Schema { path, detail },
            Some(ErrorCode::DiskFull) => Self::Full { path },
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

/// A read or a write failed. Nothing was half done: a write that answers this has left no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process held the database locked for longer than we wait. Trying again may help.
    #[error("the database is locked by another process")]
    Busy,
    /// More is to be written than the disk takes. Trying again may help.
    #[error("too many writes wait for the database")]
    Overloaded,
    /// The disk is full. Works again as soon as there is room.
    #[error("the database's disk is full")]
    Full,
    /// The file has become read-only.
    #[error("the database is read-only")]
    ReadOnly,
    /// Reading, writing or syncing the file failed.
    #[error("the database's file fails: {0}")]
    Io(String),
    /// The file is not the one that is open. Nothing is written until it is back.
    #[error(
        "{0} was moved, removed or replaced while the gateway has it open, and nothing is written to the database any \
         more: put the file back, or restart the gateway to use the file that is there now"
    )]
    Replaced(String),
    /// The file was opened to be read while nobody used it, and now somebody does.
    #[error("{0} was changed while it was read: a gateway may have been started. Run the command again")]
    Changed(String),
    /// The file is damaged, or holds what this gateway never wrote.
    #[error(
        "the database is damaged ({0}): restore a backup with `gateway restore FILE`, or try to recover its rows with \
         SQLite: `sqlite3 DATABASE .recover`"
    )]
    Corrupt(String),
    /// Its tables are not those that this gateway made: it is damaged, or was changed while it was open, by hand or by
    /// a newer gateway.
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
    /// SQLite fails in a way that has no better name.
    #[error("the database fails: {0}")]
    Sqlite(String),
}

impl StoreError {
    /// The same; where it is the file that has to be seen to, it is named.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Corrupt(detail) => Self::Corrupt(format!("{}: {detail}", path.display())),
            Self::Schema(detail) => Self::Schema(format!("{}: {detail}", path.display())),
            Self::Io(detail) => Self::Io(format!("{}: {detail}", path.display())),
            Self::Sqlite(detail) => Self::Sqlite(format!("{}: {detail}", path.display())),
            other => other,
        }
    }

    /// Whether the connection it came from is better opened anew: what it knows of the file may be
    /// wrong.
    pub(crate) const fn taints_connection(&self) -> bool {
        matches!(
            self,
            Self::Io(_) | Self::Corrupt(_) | Self::Schema(_) | Self::ReadOnly | Self::Sqlite(_)
        )
    }
}

/// Whether SQLite cannot run what it was asked to. All SQL is ours and fits the schema that we made, so it is the
/// schema that is another.
pub(crate) fn is_of_schema(error: &rusqlite::Error) -> bool {
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

/// Why a sign-in cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The user was disabled by an operator.
    #[error("the user is disabled")]
    Disabled(UserId),
    /// Under [`crate::UserIds::EmailMd5`]: the address, or the id that it gives, is another user's, and the
    /// identity may not be linked to them.
    #[error(
        "user_ids = \"email-md5\": the address belongs to another user, to whom this identity may not be linked"
    )]
    EmailInUse,
    /// So many new people of this provider wait for the hooks that no more are added.
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

/// Why a value was not written. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The change is not allowed.
    #[error(transparent)]
    Refused(#[from] ValueRefusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a write may answer instead of its result: the database's failures, and refusals of its own.
pub(crate) trait WriteError: From<StoreError> + Send + 'static {
    /// The database's failure, where it is one.
    fn failure(&self) -> Option<&StoreError>;

    /// The same; where it is the file that has to be seen to, it is named.
    fn in_file(self, path: &Path) -> Self;
}

impl WriteError for StoreError {
    fn failure(&self) -> Option<&StoreError> {
        Some(self)
    }

    fn in_file(self, path: &Path) -> Self {
        Self::in_file(self, path)
    }
}

impl WriteError for SignInError {
    fn failure(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Disabled(_) | Self::EmailInUse | Self::TooManyNewUsers(_) => None,
        }
    }

    fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.in_file(path)),
            refusal => refusal,
        }
    }
}
