//! `gateway plugin bindings` and `gateway plugin componentize`: the steps before and after a C compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use wasmparser::{Encoding, Parser, Payload};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

use crate::cli::output;

/// The size of a core module with debug information, in bytes. The component is much smaller.
const MAX_MODULE: u64 = 1 << 30;
/// The WASI of C libraries: a module of functions rather than an interface of a component.
const WASI_PREVIEW_1: &str = "wasi_snapshot_preview1";

#[derive(Debug, Args)]
pub(in crate::cli) struct Bindings {
    /// The WIT directory
    #[arg(default_value = "wit")]
    wit: PathBuf,
    /// The world to generate the bindings for
    #[arg(long, value_name = "WORLD", default_value = "plugin")]
    world: String,
    /// The directory for WORLD.h, WORLD.c and WORLD_component_type.o, created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Componentize {
    /// The core module, linked with WORLD_component_type.o
    module: PathBuf,
    /// The file to write the component to
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn bindings(bindings: &Bindings) -> anyhow::Result<()> {
    let Bindings { wit, world, out } = bindings;
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(wit)
        // Adds the file, the line number and the line.
        .map_err(|error| anyhow!(resolve.render_error(&error)))
        .with_context(|| format!("cannot read the interface in {}", wit.display()))?;
    let id = resolve
        .select_world(&[package], Some(world))
        .with_context(|| format!("there is no world {world:?} in {}", wit.display()))?;
    let mut files = Files::default();
    Opts::default()
        .build()
        .generate(&mut resolve, id, &mut files)
        .with_context(|| format!("cannot generate C bindings for the world {world:?}"))?;
    fs::create_dir_all(out).with_context(|| format!("cannot create the directory {}", out.display()))?;
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
            if !format!("{error:#}").contains(WASI_PREVIEW_1) {
                return error;
            }
            error.context(
                "it calls a function of the C library that needs files, sockets, the environment or a clock, such as \
                 `printf`: a plugin has none of these",
            )
        })
}

/// Removes the DWARF sections, which are a hundred times as large as the rest. Keeps the names of functions, so that an
/// error can say where it happened.
fn without_debug_information(core: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = Vec::with_capacity(core.len());
    // The end of the previous section. The bytes from there to the next section are its header.
    let mut end = 0;
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload.context("it is not a WebAssembly module")?;
        let range = match &payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } => bail!("it is already a component"),
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

/// `make` would not rebuild a partial file, and a gateway might serve it.
fn replace(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    output::replace(path, contents).with_context(|| format!("cannot write {}", path.display()))
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
    fn u6_debug_information_is_removed_and_names_are_kept() {
        let stripped =
            without_debug_information(&module(&[".debug_info", "name", ".debug_str", "producers"]));
        assert_eq!(stripped.unwrap(), module(&["name", "producers"]));
    }

    #[test]
    fn only_core_modules_are_accepted() {
        for (bytes, says) in [
            (b"".as_slice(), "not a WebAssembly module"),
            (b"text", "not a WebAssembly module"),
            (b"\0asm\x0d\0\x01\0", "already a component"),
            (b"\0asm\x01\0\0\0\x01\xff", "not a WebAssembly module"),
        ] {
            let error = format!("{:#}", component(bytes).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
