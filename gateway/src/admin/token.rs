//! The admin token's file: made once, whole or not at all, for the gateway's own user alone.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gateway_model::Random;
use secrecy::SecretString;

use crate::small_file;

/// The shortest token an operator may write there: 128 bits in hexadecimal.
const SHORTEST: usize = 32;
/// More than any token; a file that was named by mistake is not read to its end.
const LONGEST: u64 = 4096;

/// The token: what the file holds, or 256 new random bits in hexadecimal that are written there.
///
/// # Errors
/// When others can read or have written the file, it holds no token, or it cannot be read or written.
pub fn token(path: &Path, random: &dyn Random) -> io::Result<SecretString> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut bytes = [0; 32];
    random.fill(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // It gets its name when it is complete: a process that dies half way leaves no empty file to be
    // stumbled over. Its mode is 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{token}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(token.into()),
        // Another process was faster: both use its token.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(lost) => Err(lost.error),
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    let (text, metadata) = small_file::read_text(path, LONGEST)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(io::Error::other(
            "it belongs to another user, who knows what is in it: delete it to get a new token",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others can read it: run `chmod 600` on it, or delete it to get a new token",
        ));
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
    use std::os::unix::fs::PermissionsExt as _;

    use gateway_model::SystemRandom;
    use gateway_model::clock::{Random, RandomError};
    use secrecy::ExposeSecret as _;

    use super::token;

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
        let made = token(&path, &SystemRandom).unwrap();
        assert_eq!(made.expose_secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            token(&path, &SystemRandom).unwrap().expose_secret(),
            made.expose_secret()
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_where_it_cannot_be_made() {
        let directory = tempfile::tempdir().unwrap();
        assert!(token(&directory.path().join("admin-token"), &Dry).is_err());
        assert!(token(&directory.path().join("none/admin-token"), &SystemRandom).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn is_refused_where_others_can_read_it_or_it_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        fs::write(&path, "0".repeat(64)).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(token(&path, &SystemRandom).is_err(), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(token(&path, &SystemRandom).is_ok());
        for text in ["", "\n", "short", &"a b".repeat(30)] {
            fs::write(&path, text).unwrap();
            assert!(token(&path, &SystemRandom).is_err(), "{text:?}");
        }
    }
}
