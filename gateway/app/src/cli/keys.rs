//! `gateway keys`: generates keys that sign permission tokens or plugins.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use gateway_model::SystemClock;

use super::{Shared, output};
use crate::{config, keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Generate a private key, in a file that only its owner can read
    ///
    /// It signs permission tokens if it is one of the gateway's keys, which are those in `keys` of the data directory
    /// unless the configuration names others. To sign plugins (`gateway plugin sign`), generate a key with `--algorithm
    /// eddsa`, and use `--out` to put it where the gateway does not read it.
    Generate {
        /// The signature algorithm
        #[arg(long, value_enum, default_value_t = Algorithm::Rs256)]
        algorithm: Algorithm,
        /// The directory, created if it does not exist [default: keys in the data directory]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Generate a key even if there are keys already. It signs from the next start, and the others are published
        #[arg(long)]
        add: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Algorithm {
    /// RSA, 2048 bits: every JWT library verifies it
    Rs256,
    /// ECDSA on P-256
    Es256,
    /// Ed25519: for permission tokens, and for plugins
    Eddsa,
}

impl From<Algorithm> for gateway_token::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Eddsa => Self::EdDSA,
        }
    }
}

pub(super) fn run(shared: &Shared, command: &Command) -> anyhow::Result<()> {
    let Command::Generate { algorithm, out, add } = command;
    let directory = match out {
        Some(directory) => directory.clone(),
        None => shared.load(config::load_storage)?.data_dir.join("keys"),
    };
    let made = keys::generate(&directory, (*algorithm).into(), &SystemClock, *add)?;
    let does = match (made.signs, out) {
        (true, None) => "It signs from the next start.",
        (true, Some(_)) => "It signs permission tokens if the gateway reads its keys from this directory.",
        (false, _) => "It is published from the next start. The key whose name sorts last signs.",
    };
    let done = format!("created {}\nkid  {}\n{does}\n", made.path.display(), made.kid);
    output::report(done.as_bytes());
    Ok(())
}
