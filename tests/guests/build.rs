//! Compiles the guests: those in `rust` by cargo, those in `wat` from their text.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use guest_build::Workspace;

const RUST: Workspace<'_> = Workspace {
    directory: "rust",
    guests: &[
        "behave",
        "canary",
        "count",
        "grow",
        "imports_config",
        "imports_http",
        "imports_key_value",
        "imports_logging",
        "imports_secrets",
        "imports_users",
        "login_only",
        "reject",
        "v1",
        "v2",
    ],
};

/// The export of the shell.
const EXPORT: &str = r#"(export "auth-gateway:plugin/permission-provider@1.0.0" (instance $provider))"#;

fn main() -> ExitCode {
    if let Err(error) = assemble(Path::new("wat")) {
        println!("cargo::error={error}");
        return ExitCode::FAILURE;
    }
    guest_build::guests(&[RUST], &["../../wit"])
}

/// Assembles `wat/some_name.wat` and writes `$OUT_DIR/wat.rs`, with a constant `SOME_NAME` for each. Texts that are not
/// a whole component are inserted into `wat/shell.wat` first.
fn assemble(texts: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", texts.display());
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("this is a build script")?);
    let shell = fs::read_to_string(texts.join("shell.wat"))?;
    let mut constants = String::new();
    let mut add = |name: &str, text: &str| -> Result<(), Box<dyn Error>> {
        let bytes = wat::parse_str(text).map_err(|error| format!("{name}: {error}"))?;
        let file = out_dir.join(name).with_extension("wasm");
        fs::write(&file, bytes)?;
        writeln!(
            constants,
            "pub(crate) const {}: &[u8] = include_bytes!({file:?});",
            name.to_uppercase()
        )?;
        Ok(())
    };
    for entry in fs::read_dir(texts)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .ok_or("a file name is not UTF-8")?;
        if name == "shell" {
            continue;
        }
        let text = repeat_lines(&fs::read_to_string(&path)?)?;
        match name {
            "core_module" | "empty_interface" | "no_exports" | "wrong_type" => add(name, &text)?,
            "plain" => {
                let component = shell.replace("(;guest;)", &text);
                add("newer_version", &component.replace("@1.0.0", "@1.7.3"))?;
                add("wrong_version", &component.replace("@1.0.0", "@0.1.0"))?;
                let wrong_export = EXPORT.replace("@1.0.0", "@0.1.0");
                add("wrong_export_version", &component.replace(EXPORT, &wrong_export))?;
                let both = EXPORT.to_owned() + &EXPORT.replace("@1.0.0", "@1.1.0");
                add("both_versions", &component.replace(EXPORT, &both))?;
                add(name, &component)?;
            }
            _ => add(name, &shell.replace("(;guest;)", &text))?,
        }
    }
    fs::write(out_dir.join("wat.rs"), constants)?;
    Ok(())
}

/// Repeats a line that begins with `(;N;)` N times.
fn repeat_lines(text: &str) -> Result<String, Box<dyn Error>> {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        let marked = line
            .trim_start()
            .strip_prefix("(;")
            .and_then(|rest| rest.split_once(";)"));
        let (times, line) = match marked {
            Some((times, rest)) => (times.parse()?, rest),
            None => (1, line),
        };
        for _ in 0..times {
            whole.push_str(line);
            whole.push('\n');
        }
    }
    Ok(whole)
}
