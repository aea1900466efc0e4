//! `gateway plugin sign`: a signature for gateways that trust the key.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use gateway_plugin::PluginSigner;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The private Ed25519 key, a PEM file: `gateway keys generate --algorithm eddsa` makes one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The component; the signature goes beside it, into `<FILE>.sig`
    file: PathBuf,
}

pub(super) fn run(sign: &Sign) -> anyhow::Result<()> {
    let text = fs::read_to_string(&sign.key)
        .with_context(|| format!("the key {} cannot be read", sign.key.display()))?;
    let signer = PluginSigner::from_pem(&text)
        .with_context(|| format!("the key {} cannot be used", sign.key.display()))?;
    let component =
        fs::read(&sign.file).with_context(|| format!("{} cannot be read", sign.file.display()))?;
    let mut path = sign.file.clone().into_os_string();
    path.push(".sig");
    let path = PathBuf::from(path);
    fs::write(&path, signer.sign(&component))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let mut err = io::stderr().lock();
    writeln!(
        err,
        "wrote {}; gateways need this key in `plugins.trusted_keys`:",
        path.display()
    )?;
    io::stdout()
        .lock()
        .write_all(signer.public_key()?.to_pem().as_bytes())?;
    Ok(())
}
