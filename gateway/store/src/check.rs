//! Checks whether a database could be opened, without changing the file or anything beside it.
//!
//! It follows [`Store::open`](crate::Store::open) up to the point at which that would write. It does not disturb a
//! gateway that has the database open: it neither waits for commits nor takes any lock against it.

use std::io;
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::error::{At as _, OpenError};
use crate::url::DatabaseUrl;
use crate::{connect, inspect, integrity, open, owned, restore, schema, wal};

/// Larger files are not read completely, which would take seconds.
const MAX_WHOLE: u64 = 256 << 20;

/// How much of a database to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only what opening the database reads, and its schema.
    Schema,
    /// Every page, unless the file is very large.
    Pages,
}

/// The state of a database that could be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Damage that does not prevent opening it.
    pub damage: Option<String>,
    /// Other problems that do not prevent opening it, a sentence each.
    pub warnings: Vec<String>,
    /// Checks that were not possible, a sentence each.
    pub notes: Vec<String>,
}

/// Checks a database, or the location where one would be created. `made` is a directory that will exist when the
/// database is opened.
///
/// # Errors
/// The error with which opening it would fail.
pub fn check(url: &DatabaseUrl, made: &Path, depth: Depth) -> Result<Checked, OpenError> {
    let DatabaseUrl::File(path) = url else {
        return Ok(Checked::default());
    };
    let path = std::path::absolute(path).at(path)?;
    owned::database(&path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let made = std::path::absolute(made).at(&path)?;
    if parent == made && !parent.exists() {
        return Ok(Checked::default());
    }
    // No process opens it meanwhile, and `versions` can tell whether one has opened it before.
    let _only_us = inspect::lock_directory(&path)?;
    may_write(parent, &path)?;
    let mut checked = Checked::default();
    if !open::check_files(&path)?
        && let Some(restored) = restore::check_interrupted(&path)?
    {
        checked.notes.push(format!(
            "a restore was interrupted: the gateway completes it when it opens the database, with {}",
            restored.display()
        ));
        return Ok(checked);
    }
    let alone = open::is_alone(&path);
    let Some(size) = inspect::look(&path, alone)?.filter(|size| *size > 0) else {
        return Ok(checked);
    };
    may_write(&path, &path)?;
    look_inside(&path, alone, &mut checked)?;
    // If the schema could not be checked, the pages cannot either.
    if depth == Depth::Pages && checked.notes.is_empty() {
        look_at_pages(&path, alone, size, &mut checked)?;
    }
    Ok(checked)
}

fn look_inside(path: &Path, alone: bool, checked: &mut Checked) -> Result<(), OpenError> {
    // Reading a log creates files beside it, unless another process has the database open and they exist already.
    if alone && wal::has_log(path) {
        checked.notes.push(format!(
            "{} was not closed in order: the gateway applies the changes in its log when it opens the database, and they \
             were not checked before",
            path.display()
        ));
        return Ok(());
    }
    let connection = read_only(path, alone)?;
    let found = schema::version(&connection).at(path)?;
    let known = schema::known();
    let path = path.to_owned();
    if found > known {
        return Err(OpenError::TooNew { path, found, known });
    }
    if found > 0 {
        // Otherwise the file was claimed and has no tables yet.
        let schema::Difference { foreign, missing } = schema::compare(&connection, found).at(&path)?;
        if let Some(detail) = missing {
            return Err(OpenError::Schema { path, detail });
        }
        let warning = foreign.map(|foreign| format!("{}: {foreign}", path.display()));
        checked.warnings.extend(warning);
    }
    Ok(())
}

fn look_at_pages(path: &Path, alone: bool, size: u64, checked: &mut Checked) -> Result<(), OpenError> {
    if size > MAX_WHOLE {
        checked.notes.push(format!(
            "{} is too large to be read from one end to the other here: `gateway backup` checks all of it",
            path.display()
        ));
        return Ok(());
    }
    checked.damage = match integrity::problem(&read_only(path, alone)?) {
        Ok(problem) => problem.map(|detail| damaged(path, &detail)),
        Err(error) => Some(damaged(path, &error.to_string())),
    };
    Ok(())
}

fn read_only(path: &Path, alone: bool) -> Result<Connection, OpenError> {
    let opened = if alone {
        connect::open_immutable(path)
    } else {
        connect::open_reader(path)
    };
    opened.at(path)
}

fn damaged(path: &Path, detail: &str) -> String {
    format!(
        "{} is damaged ({}): what is on the damaged pages cannot be read; restore it from a backup",
        path.display(),
        detail.trim().replace('\n', ", ")
    )
}

/// Checks that this user may write to a file or directory.
fn may_write(path: &Path, database: &Path) -> Result<(), OpenError> {
    let mode = if path.is_dir() {
        Access::WRITE_OK | Access::EXEC_OK
    } else {
        Access::READ_OK | Access::WRITE_OK
    };
    accessat(CWD, path, mode, AtFlags::EACCESS)
        .map_err(io::Error::from)
        .at(database)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use gateway_model::SystemRandom;
    use rusqlite::Connection;
    use rustix::fs::{CWD, FileType, Mode};

    use super::{Depth, check};
    use crate::error::OpenError;
    use crate::open::{self, WRITER_PATIENCE};
    use crate::url::DatabaseUrl;

    /// A database that was opened and closed again.
    fn made(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("gateway.db");
        drop(open::open(&path, WRITER_PATIENCE, &SystemRandom).unwrap());
        path
    }

    fn pipe(path: &Path) {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    /// Every file and what is in it. Pipes are left alone.
    fn state(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let bytes = match entry.metadata() {
                    Ok(file) if file.is_file() => fs::read(entry.path()).unwrap_or_default(),
                    _ => Vec::new(),
                };
                (entry.file_name(), bytes)
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn o5_a_check_has_the_result_of_opening_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        let url = DatabaseUrl::File(path.clone());
        let verdict = || {
            let before = state(dir.path());
            let verdict = check(&url, dir.path(), Depth::Pages);
            assert_eq!(state(dir.path()), before, "{verdict:?}");
            verdict
        };
        assert_eq!(verdict().unwrap(), super::Checked::default(), "none yet");
        let path = {
            made(dir.path());
            path
        };
        assert_eq!(verdict().unwrap(), super::Checked::default(), "one of ours");

        let altered = |sql: &str| {
            fs::remove_file(&path).unwrap();
            made(dir.path());
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch(sql).unwrap();
            connection
                .pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
                .unwrap();
        };
        altered("CREATE TABLE theirs (a)");
        let warnings = verdict().unwrap().warnings;
        assert!(warnings.concat().contains("theirs"), "{warnings:?}");
        altered("DROP TABLE events");
        assert!(matches!(verdict(), Err(OpenError::Schema { .. })));
        altered("PRAGMA user_version = 9999");
        assert!(matches!(verdict(), Err(OpenError::TooNew { .. })));
        altered("PRAGMA application_id = 1");
        assert!(matches!(verdict(), Err(OpenError::NotOurs { .. })));

        fs::write(
            &path,
            "no database, but longer than the header of one: ".repeat(100),
        )
        .unwrap();
        assert!(matches!(verdict(), Err(OpenError::NotOurs { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(verdict(), Err(OpenError::NotAFile { .. })));
        fs::remove_dir(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        assert!(
            matches!(verdict(), Err(OpenError::NotAFile { .. })),
            "a link that leads nowhere"
        );
        fs::remove_file(&path).unwrap();
        // SQLite would wait for the other end of a pipe, or fail.
        for suffix in ["", "-wal", "-shm", "-journal"] {
            made(dir.path());
            let beside = dir.path().join(format!("gateway.db{suffix}"));
            if suffix.is_empty() {
                fs::remove_file(&beside).unwrap();
            }
            for put in [&|| pipe(&beside), &|| fs::create_dir(&beside).unwrap(), &|| {
                symlink("/dev/null", &beside).unwrap()
            }] as [&dyn Fn(); 3]
            {
                put();
                let refused = verdict().unwrap_err();
                assert!(
                    matches!(&refused, OpenError::NotAFile { path, .. } if *path == beside),
                    "{suffix}: {refused}"
                );
                assert!(open::open(&path, WRITER_PATIENCE, &SystemRandom).is_err());
                if beside.is_dir() {
                    fs::remove_dir(&beside).unwrap();
                } else {
                    fs::remove_file(&beside).unwrap();
                }
            }
            let _ = fs::remove_file(&path);
        }
        fs::write(dir.path().join("gateway.db-wal"), "a log").unwrap();
        assert!(matches!(verdict(), Err(OpenError::LogAlone { .. })));

        let nowhere = DatabaseUrl::File(dir.path().join("none/gateway.db"));
        assert!(matches!(
            check(&nowhere, Path::new("/elsewhere"), Depth::Pages),
            Err(OpenError::Unwritable { .. })
        ));
        assert!(
            check(&nowhere, &dir.path().join("none"), Depth::Pages).is_ok(),
            "it will be there"
        );
        assert!(matches!(
            check(&DatabaseUrl::File("/dev/zero".into()), dir.path(), Depth::Pages),
            Err(OpenError::NotAFile { .. })
        ));
    }

    #[test]
    fn o5_a_database_that_is_in_use_is_read_without_disturbing_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        let url = DatabaseUrl::File(path.clone());
        let open = open::open(&path, WRITER_PATIENCE, &SystemRandom).unwrap();
        assert_eq!(
            check(&url, dir.path(), Depth::Pages).unwrap(),
            super::Checked::default()
        );
        drop(open);
    }
}
