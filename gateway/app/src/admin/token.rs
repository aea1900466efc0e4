//! Token files. Each is created once, completely or not at all, for the gateway's user. The file of a token that only
//! reads metrics may also be readable by its group.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gateway_model::Random;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use secrecy::SecretString;

use crate::small_file;

/// The shortest token that an operator may choose, 128 bits in hexadecimal.
const SHORTEST: usize = 32;
/// Longer than any token, and short for a file that was named by mistake.
const LONGEST: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFile<'a> {
    /// The token for everything. Only the gateway's user may read the file.
    Operators(&'a Path),
    /// The token that can only read metrics. The file's group may read it too.
    Monitors(&'a Path),
}

impl<'a> TokenFile<'a> {
    pub(crate) const fn path(self) -> &'a Path {
        match self {
            Self::Operators(path) | Self::Monitors(path) => path,
        }
    }

    const fn mode(self) -> u32 {
        match self {
            Self::Operators(_) => 0o600,
            Self::Monitors(_) => 0o640,
        }
    }
}

/// Returns the token in the file. If there is no file, creates it with 256 random bits in hexadecimal. Fails if others
/// can read or write the file, or if it does not contain a token.
pub(crate) fn token(file: TokenFile<'_>, random: &dyn Random) -> io::Result<SecretString> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    // The file gets its name when it is complete, so that a process that dies here does not leave an empty one. Its
    // mode is 0600 from the start.
    let mut draft = tempfile::NamedTempFile::new_in(directory(file.path()))?;
    writeln!(draft, "{token}")?;
    draft
        .as_file()
        .set_permissions(Permissions::from_mode(file.mode()))?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(file.path()) {
        Ok(_) => Ok(token.into()),
        // Another process was faster. Both use its token.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => read(file),
        Err(lost) => Err(lost.error),
    }
}

/// Fails if [`token`] would fail. The directory `made` will exist by then.
pub(crate) fn check(file: TokenFile<'_>, made: &Path) -> io::Result<()> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map(drop),
    }
    if file.path().is_symlink() {
        return Err(io::Error::other("it is a broken symbolic link: delete it"));
    }
    let directory = directory(file.path());
    if directory == made && !made.exists() {
        return Ok(());
    }
    let writable = accessat(
        CWD,
        directory,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    );
    writable.map_err(|error| {
        let error = io::Error::from(error);
        let message = format!("it cannot be created in {}: {error}", directory.display());
        io::Error::new(error.kind(), message)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it contains the admin token, so anyone who may read metrics could do everything: name another file, or delete this \
     one"
)]
pub(crate) struct SameToken;

/// Fails if the two files contain the same token, or will.
pub(crate) fn check_distinct(operators: &Path, monitors: &Path) -> Result<(), SameToken> {
    // The modes of the files have been checked.
    let token = |path: &Path| small_file::read_text(path, LONGEST).ok();
    let is_same = match (token(operators), token(monitors)) {
        (Some((operators, _)), Some((monitors, _))) => operators.trim() == monitors.trim(),
        (None, None) => place(operators) == place(monitors),
        _ => false,
    };
    if is_same { Err(SameToken) } else { Ok(()) }
}

/// The absolute path of a file that does not exist yet.
fn place(path: &Path) -> Option<PathBuf> {
    let directory = directory(path);
    let directory = directory
        .canonicalize()
        .or_else(|_| std::path::absolute(directory))
        .ok()?;
    Some(directory.join(path.file_name()?))
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn read(file: TokenFile<'_>) -> io::Result<SecretString> {
    let (text, metadata) = small_file::read_text(file.path(), LONGEST)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(io::Error::other(
            "it belongs to another user, who knows the token: delete it to get a new one",
        ));
    }
    if metadata.mode() & 0o777 & !file.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "others can read or write it: run `chmod {:o}` on it, or delete it to get a new token",
            file.mode()
        )));
    }
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::other(
            "it does not contain a token: delete it to get a new one",
        ));
    }
    Ok(token.to_owned().into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use gateway_model::SystemRandom;
    use gateway_model::clock::{Random, RandomError};
    use secrecy::ExposeSecret as _;

    use super::{TokenFile, check, check_distinct, token};

    /// Returns no random bytes.
    #[derive(Debug)]
    struct Dry;

    impl Random for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError("dry".to_owned()))
        }
    }

    #[test]
    fn a_token_is_created_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        let made = token(TokenFile::Operators(&path), &SystemRandom).unwrap();
        assert_eq!(made.expose_secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            token(TokenFile::Operators(&path), &SystemRandom)
                .unwrap()
                .expose_secret(),
            made.expose_secret()
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_creation_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        assert!(token(TokenFile::Operators(&directory.path().join("admin-token")), &Dry).is_err());
        assert!(
            token(
                TokenFile::Operators(&directory.path().join("none/admin-token")),
                &SystemRandom
            )
            .is_err()
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn readable_and_invalid_token_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        fs::write(&path, "0".repeat(64)).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(
                token(TokenFile::Operators(&path), &SystemRandom).is_err(),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(token(TokenFile::Operators(&path), &SystemRandom).is_ok());
        for text in ["", "\n", "short", &"a b".repeat(30)] {
            fs::write(&path, text).unwrap();
            assert!(
                token(TokenFile::Operators(&path), &SystemRandom).is_err(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn o7_the_group_may_read_the_metrics_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics-token");
        let file = TokenFile::Monitors(&path);
        token(file, &SystemRandom).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        for (mode, good) in [
            (0o600, true),
            (0o440, true),
            (0o644, false),
            (0o660, false),
            (0o650, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(token(file, &SystemRandom).is_ok(), good, "{mode:o}");
            assert_eq!(check(file, directory.path()).is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn o7_the_metrics_token_must_differ_from_the_admin_token() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let same = |monitors: &str| check_distinct(&at("admin"), &at(monitors)).is_err();
        // Neither is there yet.
        assert!(same("admin") && !same("metrics"));
        token(TokenFile::Operators(&at("admin")), &SystemRandom).unwrap();
        assert!(same("admin") && !same("metrics"));
        symlink("admin", at("link")).unwrap();
        fs::hard_link(at("admin"), at("hard")).unwrap();
        fs::copy(at("admin"), at("copy")).unwrap();
        fs::write(
            at("spaced"),
            format!("  {}\n\n", fs::read_to_string(at("admin")).unwrap()),
        )
        .unwrap();
        for copy in ["link", "hard", "copy", "spaced"] {
            assert!(same(copy), "{copy}");
        }
        token(TokenFile::Monitors(&at("metrics")), &SystemRandom).unwrap();
        assert!(!same("metrics"));
        symlink("nowhere", at("dangling")).unwrap();
        let error = check(TokenFile::Monitors(&at("dangling")), directory.path()).unwrap_err();
        assert!(error.to_string().contains("broken symbolic link"), "{error}");
        assert!(token(TokenFile::Monitors(&at("dangling")), &SystemRandom).is_err());
    }

    #[test]
    fn o5_checking_a_token_file_does_not_create_it() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("data");
        for (path, good) in [
            (directory.path().join("token"), true),
            (made.join("token"), true),
            (directory.path().join("elsewhere/token"), false),
            (directory.path().to_owned(), false),
        ] {
            assert_eq!(
                check(TokenFile::Operators(&path), &made).is_ok(),
                good,
                "{path:?}"
            );
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
