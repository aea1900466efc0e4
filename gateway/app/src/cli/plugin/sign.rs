//! `gateway plugin sign`: signs a component for gateways that trust the key.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_host::{CompileOptions, MAX_VERSION, PluginSigner, TrustedKey};
use gateway_model::SystemClock;

use crate::cli::output;
use crate::config::flags;
use crate::small_file;
use crate::time::LAST;

/// The size of a private key or a signature, in bytes.
const MAX_SMALL: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The private Ed25519 key, a PEM file: `gateway keys generate --algorithm eddsa` creates one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The only plugin as which the component may serve [default: the file's name]
    #[arg(long, value_name = "NAME", value_parser = flags::name)]
    name: Option<String>,
    /// Its version, a whole number; a gateway rejects a lower one than it has accepted before [default: the
    /// milliseconds since 1970. If this key has signed the same component with that version or a higher one, the next
    /// number]
    #[arg(long, value_name = "NUMBER", value_parser = flags::count)]
    version: Option<u64>,
    /// The component; the signature is written to `<FILE>.sig`
    file: PathBuf,
}

pub(super) fn run(sign: &Sign) -> anyhow::Result<()> {
    let text = read(&sign.key, MAX_SMALL).context("cannot read the key")?;
    let signer = PluginSigner::from_pem(&String::from_utf8_lossy(&text))
        .with_context(|| format!("cannot use the key {}", sign.key.display()))?;
    let component = read(&sign.file, CompileOptions::default().size)?;
    let mut path = sign.file.clone().into_os_string();
    path.push(".sig");
    let path = PathBuf::from(path);
    let stem = || Some(sign.file.file_stem()?.to_str()?.to_owned());
    let Some(name) = sign.name.clone().or_else(stem) else {
        bail!("the file's name is not UTF-8: add --name with the plugin's name");
    };
    let key = signer.public_key()?;
    let version = match sign.version {
        Some(version) if version <= MAX_VERSION => version,
        Some(version) => bail!(
            "--version {version} is too high: the highest version is {MAX_VERSION}, and every later version must be higher"
        ),
        None => next_version(&path, &name, &component, &key, SystemClock::since_epoch())?,
    };
    let signature = signer
        .sign(&name, version, &component)
        .context("add --name with the plugin's name")?;
    write(&path, &signature).with_context(|| format!("cannot write {}", path.display()))?;
    // The command has succeeded, even if stderr cannot be written.
    let _ = writeln!(
        io::stderr(),
        "wrote {} for version {version} of {name}; gateways need this key in `plugins.trusted_keys`:",
        path.display()
    );
    output::report(key.to_pem().as_bytes());
    Ok(())
}

/// Writes a signature completely or not at all. Replaces only a regular file: a link may lead anywhere, and writing to
/// a pipe may block.
fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            let what = gateway_model::file::kind(found.file_type());
            return Err(io::Error::other(format!(
                "it is {what}, not a regular file: delete it"
            )));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    output::replace(path, text.as_bytes())
}

/// Returns the time in milliseconds, so that two components that are signed in the same second have different versions.
/// If the clock is behind, and the same key has signed the same component before, returns the next number after that
/// version. Anybody may have written the file beside the component, so a signature by another key is ignored.
fn next_version(
    signature: &Path,
    name: &str,
    component: &[u8],
    key: &TrustedKey,
    since_epoch: Option<Duration>,
) -> anyhow::Result<u64> {
    // If the clock is before 1970, the lowest version.
    let now = since_epoch.map_or(1, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    // Such a version would leave no higher ones.
    if since_epoch.is_some_and(|since| since.as_secs() > LAST) {
        bail!(
            "the machine's clock shows a time after 9999, which cannot be a version: set the clock, or add --version NUMBER"
        );
    }
    let text = read(signature, MAX_SMALL).ok();
    let before = text.and_then(|text| key.signed_version(name, component, &String::from_utf8_lossy(&text)));
    let next = before.map_or(now, |before| now.max(before.saturating_add(1)));
    if next > MAX_VERSION {
        bail!(
            "{} already has the highest possible version, {MAX_VERSION}: sign under another name, or add --version NUMBER \
             with a version higher than any that a gateway has accepted",
            signature.display()
        );
    }
    Ok(next)
}

fn read(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let (bytes, _) =
        small_file::read(path, max).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use gateway_host::{MAX_VERSION, PluginSigner};
    use gateway_model::SystemClock;

    use super::{next_version, read, write};

    fn signer() -> PluginSigner {
        let key = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let text = STANDARD.encode(key.as_ref());
        PluginSigner::from_pem(&format!(
            "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
        ))
        .unwrap()
    }

    #[test]
    fn a16_only_the_signers_own_signature_raises_the_default_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.wasm.sig");
        let (ours, theirs) = (signer(), signer());
        let key = ours.public_key().unwrap();
        let next = |text: &str, name: &str, component: &[u8]| {
            fs::write(&path, text).unwrap();
            next_version(&path, name, component, &key, SystemClock::since_epoch())
        };
        let by_clock = next("", "p", b"c").unwrap();
        assert!(by_clock > 1_700_000_000_000);
        let ahead = ours.sign("p", 99_999_999_999_999, b"c").unwrap();
        assert_eq!(next(&ahead, "p", b"c").unwrap(), 100_000_000_000_000);
        // Any other file in its place is ignored.
        let made_up = format!("v2 p {} AAAA\n", u64::MAX);
        let foreign = theirs.sign("p", MAX_VERSION, b"c").unwrap();
        for (text, name, component) in [
            (ahead.as_str(), "q", b"c"),
            (&ahead, "p", b"d"),
            (&made_up, "p", b"c"),
            (&foreign, "p", b"c"),
            ("AAAA\n", "p", b"c"),
        ] {
            let next = next(text, name, component).unwrap();
            assert!((by_clock..99_999_999_999_999).contains(&next), "{text}: {next}");
        }
        let last = ours.sign("p", MAX_VERSION, b"c").unwrap();
        let error = next(&last, "p", b"c").unwrap_err().to_string();
        assert!(error.contains("--version NUMBER"), "{error}");
    }

    #[test]
    fn a16_an_impossible_clock_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = (dir.path().join("p.wasm.sig"), signer().public_key().unwrap());
        let next = |since| next_version(&path, "p", b"c", &key, since);
        assert_eq!(next(None).unwrap(), 1, "before 1970");
        for since in [Duration::from_secs(1 << 40), Duration::MAX] {
            let error = next(Some(since)).unwrap_err().to_string();
            assert!(error.contains("the machine's clock"), "{error}");
        }
    }

    #[test]
    fn a16_only_regular_files_are_replaced_by_a_signature() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "theirs").unwrap();
        symlink("victim", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, 0o600.into(), 0).unwrap();
        fs::create_dir(at("directory")).unwrap();
        for (name, what) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("pipe", "a pipe"),
            ("directory", "a directory"),
        ] {
            let error = write(&at(name), "ours").unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "theirs");
        assert!(!at("nowhere").exists());
        for text in ["first", "second"] {
            write(&at("p.sig"), text).unwrap();
            assert_eq!(fs::read_to_string(at("p.sig")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "no draft is left");
    }

    #[test]
    fn u4_sign_limits_the_files_that_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.wasm");
        fs::write(&path, [0; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap().len(), 10);
        let error = format!("{:#}", read(&path, 9).unwrap_err());
        assert!(error.contains("larger than 9 bytes"), "{error}");
    }
}
