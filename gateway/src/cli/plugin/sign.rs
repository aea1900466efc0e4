//! `gateway plugin sign`: a signature for gateways that trust the key.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_model::SystemClock;
use gateway_plugin::{CompileOptions, MAX_VERSION, PluginSigner, TrustedKey};

use crate::config::flags;
use crate::small_file;

/// Largest file of a private key or of a signature.
const MAX_SMALL: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The private Ed25519 key, a PEM file: `gateway keys generate --algorithm eddsa` makes one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The plugin that the component is to serve as; it serves as no other [default: the file's name]
    #[arg(long, value_name = "NAME", value_parser = flags::name)]
    name: Option<String>,
    /// Its version, a whole number; a gateway refuses a lower one than it has accepted before [default: the
    /// milliseconds since 1970, or, where this key has signed this very component before, one more than that if it is higher]
    #[arg(long, value_name = "NUMBER", value_parser = flags::count)]
    version: Option<u64>,
    /// The component; the signature goes beside it, into `<FILE>.sig`
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
        bail!("the file's name is not UTF-8: give the plugin's name, --name NAME");
    };
    let key = signer.public_key()?;
    let version = match sign.version {
        Some(version) if version <= MAX_VERSION => version,
        Some(version) => bail!(
            "--version {version} is too high: versions end at {MAX_VERSION}, and every later one must be higher"
        ),
        None => next_version(&path, &name, &component, &key)?,
    };
    let signature = signer
        .sign(&name, version, &component)
        .context("give --name NAME")?;
    fs::write(&path, signature).with_context(|| format!("cannot write {}", path.display()))?;
    let mut err = io::stderr().lock();
    writeln!(
        err,
        "wrote {} for version {version} of {name}; gateways need this key in `plugins.trusted_keys`:",
        path.display()
    )?;
    io::stdout().lock().write_all(key.to_pem().as_bytes())?;
    Ok(())
}

/// The clock's version, in milliseconds: two components that are signed in the same second must not have the same one.
/// Where the clock is behind, and this key has signed this very component before, the next one after that. Anybody may
/// have written what is beside the component: unless the key made it, it says nothing.
fn next_version(signature: &Path, name: &str, component: &[u8], key: &TrustedKey) -> anyhow::Result<u64> {
    // A clock before 1970 would use up all the numbers that there are.
    let since = SystemClock::since_epoch();
    let now = since.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or(1).max(1));
    let text = read(signature, MAX_SMALL).ok();
    let before = text.and_then(|text| key.signed_version(name, component, &String::from_utf8_lossy(&text)));
    let next = before.map_or(now, |before| now.max(before.saturating_add(1)));
    if next > MAX_VERSION {
        bail!(
            "{} states the highest version there is, {MAX_VERSION}: give a lower one, --version NUMBER",
            signature.display()
        );
    }
    Ok(next)
}

/// Reads a file of `max` bytes at most.
fn read(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let (bytes, _) =
        small_file::read(path, max).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use gateway_plugin::{MAX_VERSION, PluginSigner};

    use super::{next_version, read};

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
            next_version(&path, name, component, &key)
        };
        let by_clock = next("", "p", b"c").unwrap();
        assert!(by_clock > 1_700_000_000_000);
        let ahead = ours.sign("p", 99_999_999_999_999, b"c").unwrap();
        assert_eq!(next(&ahead, "p", b"c").unwrap(), 100_000_000_000_000);
        // Whatever else lies there is not to be believed.
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
    fn u4_what_sign_reads_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.wasm");
        fs::write(&path, [0; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap().len(), 10);
        let error = format!("{:#}", read(&path, 9).unwrap_err());
        assert!(error.contains("larger than 9 bytes"), "{error}");
    }
}
