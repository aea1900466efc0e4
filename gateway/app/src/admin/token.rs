//! The files of tokens: made once, whole or not at all, for the gateway's own user; that of a token which only reads
//! metrics also for its group.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gateway_model::Random;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use secrecy::SecretString;

use crate::small_file;

/// The shortest token an operator may write there: 128 bits in hexadecimal.
const SHORTEST: usize = 32;
/// More than any token; a file that was named by mistake is not read to its end.
const LONGEST: u64 = 4096;

/// The file of a token, and what the token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFile<'a> {
    /// Everything: nobody but the gateway's user may read the file.
    Operators(&'a Path),
    /// Reading metrics: the file's group may read it too.
    Monitors(&'a Path),
}

impl<'a> TokenFile<'a> {
    /// Where it is.
    #[must_use]
    pub const fn path(self) -> &'a Path {
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

/// The token: what the file holds, or 256 new random bits in hexadecimal that are written there.
///
/// # Errors
/// When others can read or have written the file, it holds no token, or it cannot be read or written.
pub fn token(file: TokenFile<'_>, random: &dyn Random) -> io::Result<SecretString> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    // It gets its name when it is complete: a process that dies half way leaves no empty file to be stumbled over. Its mode
    // is 0600 from the beginning.
    let mut draft = tempfile::NamedTempFile::new_in(directory(file.path()))?;
    writeln!(draft, "{token}")?;
    draft
        .as_file()
        .set_permissions(Permissions::from_mode(file.mode()))?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(file.path()) {
        Ok(_) => Ok(token.into()),
        // Another process was faster: both use its token.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => read(file),
        Err(lost) => Err(lost.error),
    }
}

/// Whether [`token`] would succeed. `made` is a directory that is there by then.
///
/// # Errors
/// As for [`token`].
pub fn check(file: TokenFile<'_>, made: &Path) -> io::Result<()> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map(drop),
    }
    if file.path().is_symlink() {
        return Err(io::Error::other("it is a link that leads nowhere: delete it"));
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
        let message = format!("it cannot be made in {}: {error}", directory.display());
        io::Error::new(error.kind(), message)
    })
}

/// Both files hold one token: whoever may read metrics could do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it holds the admin token, so whoever may read metrics could do everything: name another file, or delete this one"
)]
pub struct SameToken;

/// Whether the token that reads metrics is one of its own. A file that is not there yet will hold one.
///
/// # Errors
/// [`SameToken`].
pub fn check_distinct(operators: &Path, monitors: &Path) -> Result<(), SameToken> {
    // The mode that each may have has been looked at.
    let token = |path: &Path| small_file::read_text(path, LONGEST).ok();
    let is_same = match (token(operators), token(monitors)) {
        (Some((operators, _)), Some((monitors, _))) => operators.trim() == monitors.trim(),
        (None, None) => place(operators) == place(monitors),
        _ => false,
    };
    if is_same { Err(SameToken) } else { Ok(()) }
}

/// Where a file will be that is not there yet.
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
            "it belongs to another user, who knows what is in it: delete it to get a new token",
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
        return Err(io::Error::other("it holds no token: delete it to get a new one"));
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

    /// Gives nothing.
    #[derive(Debug)]
    struct Dry;

    impl Random for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError("dry".to_owned()))
        }
    }

    #[test]
    fn is_made_once_for_its_owner_alone() {
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
    fn nothing_is_left_where_it_cannot_be_made() {
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
    fn is_refused_where_others_can_read_it_or_it_is_none() {
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
    fn o7_the_group_may_read_a_token_for_metrics() {
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
    fn o7_the_metrics_token_is_not_the_admin_token() {
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
        assert!(error.to_string().contains("leads nowhere"), "{error}");
        assert!(token(TokenFile::Monitors(&at("dangling")), &SystemRandom).is_err());
    }

    #[test]
    fn o5_a_tokens_file_is_judged_without_being_made() {
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
