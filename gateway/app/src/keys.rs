//! Reads and generates key files.
//!
//! In a directory, all `*.pem` files are keys. The file whose name sorts last signs; the others are published.
//! Generated keys are named after the time, so the newest signs. To publish a key without signing with it, give it a
//! name that sorts earlier.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gateway_model::Clock;
use gateway_store::owned::{self, Unsafe};
use gateway_token::{Algorithm, KeyError, SigningKeys};
use secrecy::{ExposeSecret as _, SecretString};

use crate::small_file;

/// The largest file that is read as a key or a secret, in bytes.
const MAX_FILE: u64 = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct KeyFiles {
    /// Private keys with their PEM texts. The first signs.
    pub(crate) signing: Vec<(PathBuf, SecretString)>,
    /// Public keys to publish as well, with their PEM texts.
    pub(crate) public: Vec<(PathBuf, String)>,
    /// Files with private keys that every user of the machine can read.
    pub(crate) exposed: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} does not contain a PEM key", path.display())]
    NoKey { path: PathBuf },
    #[error(
        "{} already contains {existing}, and a new key would sign instead of it; to add one anyway, pass --add: the key whose \
         file name sorts last signs, the others are published",
        directory.display()
    )]
    Exists { directory: PathBuf, existing: String },
    #[error("cannot write {}: {error}", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
    #[error("cannot generate a key: {0}")]
    Key(#[from] KeyError),
}

impl KeyFileError {
    fn unreadable(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Unreadable { path, error }
    }
}

/// Reads the keys of a file, or of all `*.pem` files in a directory.
pub(crate) fn read(path: &Path) -> Result<KeyFiles, KeyFileError> {
    let mut keys = KeyFiles::default();
    if path.is_dir() {
        safe_directory(path)?;
        for file in pem_files(path)? {
            read_file(&file, &mut keys)?;
        }
    } else {
        read_file(path, &mut keys)?;
    }
    Ok(keys)
}

/// A user who can write to the directory could add a key that signs.
fn safe_directory(path: &Path) -> Result<(), KeyFileError> {
    match owned::directory(path) {
        // Kubernetes mounts secrets in a sticky directory that root owns. The owner of each file is checked instead.
        Err(Unsafe::Shared { .. }) => Ok(()),
        safe => safe.map_err(|error| KeyFileError::unreadable(path, error.into())),
    }
}

/// The `*.pem` files of a directory, the last name first.
fn pem_files(directory: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
    let unreadable = |error| KeyFileError::unreadable(directory, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok(files)
}

fn read_file(path: &Path, keys: &mut KeyFiles) -> Result<(), KeyFileError> {
    let (pem, exposed) = read_secret(path).map_err(|error| KeyFileError::unreadable(path, error))?;
    if pem.contains("PRIVATE KEY-----") {
        if exposed {
            keys.exposed.push(path.to_owned());
        }
        keys.signing.push((path.to_owned(), pem.into()));
    } else if pem.contains("PUBLIC KEY-----") {
        keys.public.push((path.to_owned(), pem));
    } else {
        return Err(KeyFileError::NoKey {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Reads a file with a secret that only the gateway's user and root can write. Returns its text, and whether every user
/// of the machine can read it.
pub(crate) fn read_secret(path: &Path) -> io::Result<(String, bool)> {
    owned::file(path)?;
    let (mut text, metadata) = small_file::read_text(path, MAX_FILE)?;
    // Editors on Windows begin a file with a byte order mark, which is invisible and not part of the secret.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok((text, metadata.permissions().mode() & 0o004 != 0))
}

/// The warning for a secret that every user of the machine can read.
pub(crate) fn exposed(path: &Path) -> String {
    format!(
        "every user of this machine can read {0}: run chmod 600 {0}",
        path.display()
    )
}

/// The base64 of the key's DER: a PEM text without its header, footer and line ends. Line ends can also be written as
/// `\n`, as in environment files.
pub(crate) fn body(pem: &str) -> String {
    let lines = pem.replace("\\n", "\n");
    lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect()
}

/// The private key's DER in base64, from which other keys can be derived.
pub(crate) fn material(pem: &SecretString) -> SecretString {
    body(pem.expose_secret()).into()
}

#[derive(Debug)]
pub(crate) struct Generated {
    /// Readable by its owner alone.
    pub(crate) path: PathBuf,
    /// RFC 7638 thumbprint.
    pub(crate) kid: String,
    /// Whether its name sorts last in its directory, so that it signs from the next start.
    pub(crate) signs: bool,
}

/// Creates a private key in a directory, and the directory if it is missing. Never overwrites a file. If there is a key
/// already, `add` is required.
pub(crate) fn generate(
    directory: &Path,
    algorithm: Algorithm,
    clock: &dyn Clock,
    add: bool,
) -> Result<Generated, KeyFileError> {
    let unwritable = |path: &Path, error| KeyFileError::Unwritable {
        path: path.to_owned(),
        error,
    };
    private_dir(directory)
        .and_then(|()| owned::directory(directory).map_err(io::Error::from))
        .map_err(|error| unwritable(directory, error))?;
    let newest = pem_files(directory)?.into_iter().next();
    if let Some(existing) = newest.as_deref().filter(|_| !add) {
        let existing = existing
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        return Err(KeyFileError::Exists {
            directory: directory.to_owned(),
            existing,
        });
    }
    let (pem, _) = gateway_token::generate_key(algorithm)?;
    let kid = SigningKeys::from_pems(std::slice::from_ref(&pem), &[])?
        .kid()
        .to_owned();
    // Sorts chronologically: `20261124T093000Z`.
    let time = crate::time::rfc3339(clock.now()).replace(['-', ':'], "");
    let path = directory.join(format!("{time}-{}.pem", algorithm.as_str().to_ascii_lowercase()));
    write_new(&path, pem.expose_secret()).map_err(|error| unwritable(&path, error))?;
    let signs = newest.is_none_or(|newest| newest < path);
    Ok(Generated { path, kid, signs })
}

/// Creates a directory that only its owner can enter, and its parents. An existing one is left as it is.
pub(crate) fn private_dir(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would be useless, and in the way of the next attempt.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use gateway_model::clock::ManualClock;
    use gateway_token::Algorithm;
    use secrecy::ExposeSecret as _;

    use super::{KeyFileError, body, generate, material, read};

    #[test]
    fn a_generated_key_is_private_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("new/keys");
        let clock = ManualClock::at(1_795_510_200);
        let first = generate(&keys, Algorithm::ES256, &clock, false).unwrap();
        assert_eq!(first.path.file_name().unwrap(), "20261124T085000Z-es256.pem");
        assert_eq!(
            fs::metadata(&first.path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let before = fs::read(&first.path).unwrap();

        assert!(matches!(
            generate(&keys, Algorithm::ES256, &clock, false),
            Err(KeyFileError::Exists { .. })
        ));
        // The same second, so the same name.
        assert!(matches!(
            generate(&keys, Algorithm::ES256, &clock, true),
            Err(KeyFileError::Unwritable { .. })
        ));
        assert_eq!(fs::read(&first.path).unwrap(), before);

        clock.advance(Duration::from_secs(1));
        let second = generate(&keys, Algorithm::EdDSA, &clock, true).unwrap();
        assert_ne!(first.kid, second.kid);
        assert!(second.signs, "it has the later name");
        let read = read(&keys).unwrap();
        let newest = fs::read_to_string(&second.path).unwrap();
        assert_eq!(read.signing.len(), 2);
        assert_eq!(read.signing[0].1.expose_secret(), newest, "the newest signs");
        assert!(read.exposed.is_empty());
    }

    #[test]
    fn a_directory_holds_private_keys_public_keys_and_other_files() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let private =
            |body: &str| format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        write("1.pem", &private("one"));
        write("2.pem", &private("two"));
        write(
            "3.pem",
            "-----BEGIN PUBLIC KEY-----\nthree\n-----END PUBLIC KEY-----\n",
        );
        write("README", "not a key");
        let keys = read(directory.path()).unwrap();
        let bodies: Vec<_> = keys
            .signing
            .iter()
            .map(|(_, pem)| body(pem.expose_secret()))
            .collect();
        assert_eq!(bodies, ["two", "one"]);
        assert_eq!(keys.public.len(), 1);
        assert_eq!(keys.exposed.len(), 2, "made with 0644");

        write("4.pem", "no key");
        assert!(
            matches!(read(directory.path()), Err(KeyFileError::NoKey { path }) if path.ends_with("4.pem"))
        );
        let missing = directory.path().join("missing");
        assert!(matches!(read(&missing), Err(KeyFileError::Unreadable { path, .. }) if path == missing));
    }

    #[test]
    fn line_ends_do_not_change_the_key_material() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIE\nvQIB\n-----END PRIVATE KEY-----\n";
        for text in [
            pem.to_owned(),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\r\n"),
            format!("  {}", pem.trim()),
        ] {
            assert_eq!(
                material(&text.clone().into()).expose_secret(),
                "MIIEvQIB",
                "{text:?}"
            );
        }
    }
}
