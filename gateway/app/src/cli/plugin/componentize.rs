//! `gateway plugin bindings`, `gateway plugin componentize`: what a plugin in C needs besides a compiler. The first comes
//! before it, the second after it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use wasmparser::{Encoding, Parser, Payload};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

/// Largest core module, in bytes: with debug information they are many times what the gateway would serve.
const MAX_MODULE: u64 = 1 << 30;
/// WASI as C libraries know it: one module of functions, which is not a component's interface.
const WASI_PREVIEW_1: &str = "wasi_snapshot_preview1";

#[derive(Debug, Args)]
pub(in crate::cli) struct Bindings {
    /// The WIT directory
    #[arg(default_value = "wit")]
    wit: PathBuf,
    /// The world to write the bindings for
    #[arg(long, value_name = "WORLD", default_value = "plugin")]
    world: String,
    /// Where to write WORLD.h, WORLD.c and WORLD_component_type.o; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Componentize {
    /// The core module, linked with WORLD_component_type.o
    module: PathBuf,
    /// Where to write the component
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn bindings(bindings: &Bindings) -> anyhow::Result<()> {
    let Bindings { wit, world, out } = bindings;
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(wit)
        // With the file and the line, and the line itself.
        .map_err(|error| anyhow!(resolve.render_error(&error)))
        .with_context(|| format!("cannot read the interface in {}", wit.display()))?;
    let id = resolve
        .select_world(&[package], Some(world))
        .with_context(|| format!("there is no world {world:?} in {}", wit.display()))?;
    let mut files = Files::default();
    Opts::default()
        .build()
        .generate(&mut resolve, id, &mut files)
        .with_context(|| format!("cannot write the world {world:?} in C"))?;
    fs::create_dir_all(out).with_context(|| format!("cannot make the directory {}", out.display()))?;
    for (name, contents) in files.iter() {
        replace(&out.join(name), contents)?;
    }
    Ok(())
}

pub(super) fn componentize(componentize: &Componentize) -> anyhow::Result<()> {
    let Componentize { module, output } = componentize;
    let shown = module.display();
    let size = fs::metadata(module)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    if size > MAX_MODULE {
        bail!("{shown} is larger than {} MiB", MAX_MODULE >> 20);
    }
    let core = fs::read(module).with_context(|| format!("cannot read {shown}"))?;
    let component = component(&core).with_context(|| format!("{shown} cannot become a component"))?;
    replace(output, &component)
}

fn component(core: &[u8]) -> anyhow::Result<Vec<u8>> {
    let core = without_debug_information(core)?;
    ComponentEncoder::default()
        .module(&core)?
        .validate(true)
        .encode()
        .map_err(|error| {
            // The error names it, and not why it is there.
            let is_wasi = format!("{error:#}").contains(WASI_PREVIEW_1);
            if is_wasi {
                error.context(
                    "it calls a function of the C library that needs files, sockets, the environment or a clock, such as \
                     `printf`: there is none of that in a plugin",
                )
            } else {
                error
            }
        })
}

/// The module without its DWARF, which is a hundred times as large as the rest. The names of its functions stay, so that
/// a crash can say where it happened.
fn without_debug_information(core: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = Vec::with_capacity(core.len());
    // Where the section before ends: what comes between is the next one's header.
    let mut end = 0;
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload.context("it is not a WebAssembly module")?;
        let range = match &payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } => bail!("it is a component already"),
            Payload::Version { range, .. } => range.clone(),
            _ => match payload.as_section() {
                Some((_, range)) => range,
                None => continue,
            },
        };
        let is_debug =
            matches!(&payload, Payload::CustomSection(custom) if custom.name().starts_with(".debug_"));
        if !is_debug {
            kept.extend_from_slice(core.get(end..range.end).context("it ends early")?);
        }
        end = range.end;
    }
    Ok(kept)
}

/// Writes a file whole or not at all: `make` takes one that is there for finished, and a gateway might serve it.
fn replace(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        // A temporary file is for its owner alone; this one is for everybody whom the umask lets read it.
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)?;
        file.write_all(contents)?;
        file.persist(path)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{component, without_debug_information};

    /// A module with one type, and custom sections of these names.
    fn module(names: &[&str]) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
        for name in names {
            let length = u8::try_from(name.len()).unwrap();
            module.extend([0, 1 + length + 8, length]);
            module.extend(name.bytes().chain(*b"contents"));
        }
        module
    }

    #[test]
    fn u6_names_are_kept_and_debug_information_is_not() {
        let stripped =
            without_debug_information(&module(&[".debug_info", "name", ".debug_str", "producers"]));
        assert_eq!(stripped.unwrap(), module(&["name", "producers"]));
    }

    #[test]
    fn what_is_not_a_core_module_is_rejected() {
        for (bytes, says) in [
            (b"".as_slice(), "not a WebAssembly module"),
            (b"text", "not a WebAssembly module"),
            (b"\0asm\x0d\0\x01\0", "a component already"),
            (b"\0asm\x01\0\0\0\x01\xff", "not a WebAssembly module"),
        ] {
            let error = format!("{:#}", component(bytes).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
