//! `gateway keys`: makes keys, for permission tokens and for signing plugins.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use gateway_model::SystemClock;

use super::{Shared, mistakes, output};
use crate::{config, keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a private key, in a file that its owner alone can read
    ///
    /// It signs permission tokens, where it is among the gateway's keys; those in `keys` of the data directory are,
    /// unless the configuration says otherwise. A key that signs plugins (`gateway plugin sign`) is one of
    /// `--algorithm eddsa`; make it with `--out`, in a place that the gateway does not read.
    Generate {
        /// How it signs
        #[arg(long, value_enum, default_value_t = Algorithm::Rs256)]
        algorithm: Algorithm,
        /// The directory, made where it is missing [default: keys in the data directory]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Make one also where there are keys already; it signs from the next start, the others are published
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
        None => {
            let storage = config::load_storage(&shared.sources()).map_err(|errors| mistakes(&errors))?;
            storage.data_dir.join("keys")
        }
    };
    let made = keys::generate(&directory, (*algorithm).into(), &SystemClock, *add)?;
    let does = match (made.signs, out) {
        (true, None) => "It signs from the next start.",
        (true, Some(_)) => {
            "It signs permission tokens where the gateway's keys are read from this directory."
        }
        (false, _) => "It is published from the next start; another one's name is last, and that one signs.",
    };
    let done = format!("made {}\nkid  {}\n{does}\n", made.path.display(), made.kid);
    output::report(done.as_bytes());
    Ok(())
}
