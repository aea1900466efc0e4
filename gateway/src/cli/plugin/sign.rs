//! `gateway plugin sign`: a signature for gateways that trust the key.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_model::SystemClock;
use gateway_plugin::{CompileOptions, PluginSigner, signed_as};

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
    /// seconds since 1970, or one more than in the signature that is there, whichever is higher]
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
    let version = sign.version.unwrap_or_else(|| next_version(&path, &name));
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
    io::stdout()
        .lock()
        .write_all(signer.public_key()?.to_pem().as_bytes())?;
    Ok(())
}

/// A version above every one that was signed before: the clock's, and where that is behind, the next one after
/// the signature that is about to be replaced.
fn next_version(signature: &Path, name: &str) -> u64 {
    // A clock before 1970 would use up all the numbers that there are.
    let now = SystemClock::since_epoch().map_or(1, |since| since.as_secs().max(1));
    let before = read(signature, MAX_SMALL)
        .ok()
        .and_then(|text| signed_as(&String::from_utf8_lossy(&text)))
        .filter(|(signed, _)| *signed == name)
        .map_or(0, |(_, version)| version);
    now.max(before.saturating_add(1))
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

    use super::{next_version, read};

    #[test]
    fn a16_the_default_version_grows_even_where_the_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.wasm.sig");
        let by_clock = next_version(&path, "p");
        assert!(by_clock > 1_700_000_000);
        fs::write(&path, "v2 p 99999999999 AAAA\n").unwrap();
        assert_eq!(next_version(&path, "p"), 100_000_000_000);
        assert!(
            next_version(&path, "q") < 99_999_999_999,
            "the versions of another plugin"
        );
        fs::write(&path, "AAAA\n").unwrap();
        assert!(next_version(&path, "p") >= by_clock);
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
