//! The environment of the cargo that builds guests: it inherits how to reach the registry and the job server, but not
//! flags, wrappers and profiles, which are meant for the host.

use std::env;
use std::ffi::OsString;
use std::process::Command;

/// Cargo's variables that apply to guests as well. Those that end in `_` are prefixes.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// Variables that change what rustc does, or that describe the package whose build script runs.
/// rust-analyzer and clippy put themselves into the wrappers.
const REMOVED: &[&str] = &[
    "DEBUG",
    "HOST",
    "LLVM_PROFILE_FILE",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
];

pub(crate) fn clean(command: &mut Command) {
    for name in env::vars_os().map(|(name, _)| name).filter(is_for_the_host) {
        command.env_remove(name);
    }
}

fn is_for_the_host(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_kept = |kept: &str| {
        if kept.ends_with('_') {
            name.starts_with(kept)
        } else {
            name == kept
        }
    };
    REMOVED.contains(&name) || (name.starts_with("CARGO_") && !KEPT.iter().copied().any(is_kept))
}

#[cfg(test)]
mod tests {
    use super::is_for_the_host;

    #[test]
    fn host_flags_stay_with_the_host() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CARGO_CFG_TARGET_OS",
            "CARGO_HOME_X",
        ] {
            assert!(is_for_the_host(&name.into()), "{name}");
        }
        for name in [
            "PATH",
            "RUSTC",
            "CARGO",
            "CARGO_HOME",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!is_for_the_host(&name.into()), "{name}");
        }
    }
}
