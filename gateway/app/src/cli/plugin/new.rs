//! `gateway plugin new`: creates a project for a new plugin from templates in the binary.
//!
//! | module | contents |
//! |---|---|
//! | `name` | adapts the plugin's name to the rules of a language |
//! | `template` | the files of a project, by language and kind |

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::cli::output::{printable, report};
use crate::config;

mod name;
mod template;

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The programming language
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The purpose of the plugin
    #[arg(long, value_enum)]
    kind: Kind,
    /// The directory of the project, which must be empty or not exist yet [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The plugin's name in the gateway's configuration; the component is NAME.wasm
    #[arg(value_parser = config::read_name)]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Needs Rust and make
    Rust,
    /// Needs Node
    Js,
    /// Needs Python and make
    Python,
    /// Needs make and Python
    C,
}

impl Language {
    const fn display_name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    /// The commands that test and build a new project, run in its directory.
    const fn next(self) -> [&'static str; 2] {
        match self {
            Self::Js => ["npm ci && npm test", "npm run build"],
            Self::Rust | Self::Python | Self::C => ["make test", "make"],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A permission provider, which returns what a user may do in a service
    Provider,
    /// An extension, with a hook that is called when a user signs in
    Extension,
}

pub(super) fn run(new: &New) -> anyhow::Result<()> {
    let directory = new.path.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    let files = template::render(new.lang, new.kind, &new.name);
    write(&directory, &files)?;
    report(summary(new, &directory, &files).as_bytes());
    Ok(())
}

/// Writes files at their paths in the directory, which is created if it does not exist.
fn write(directory: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot create the directory {shown}"))?;
    let is_empty = fs::read_dir(directory)
        .with_context(|| format!("cannot read the directory {shown}"))?
        .next()
        .is_none();
    if !is_empty {
        bail!("{shown} is not empty, and nothing was written: name another directory with --path");
    }
    for (path, text) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create the directory {}", parent.display()))?;
        }
        // Fails if somebody has created the file in the meantime.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns the text for the author: the files, and the next commands.
fn summary(new: &New, directory: &Path, files: &[(String, String)]) -> String {
    let shown = printable(&directory.display().to_string());
    let kind = match new.kind {
        Kind::Provider => "a permission provider",
        Kind::Extension => "an extension",
    };
    let language = new.lang.display_name();
    let own: String = files
        .iter()
        .filter(|(path, _)| !path.starts_with(template::WIT_DIR))
        .map(|(path, _)| format!("  {path}\n"))
        .collect();
    let interface = template::WIT_DIR;
    let directory = quoted(directory);
    let [test, build] = new.lang.next();
    let mut build = build.to_owned();
    if new.lang == Language::C && !is_in_path("gateway") {
        // The Makefile would not find the gateway.
        if let Ok(own) = env::current_exe() {
            build += &format!(" GATEWAY={}", quoted(&own));
        }
    }
    format!(
        "{shown}: {kind} in {language}\n{own}  {interface}/: the gateway's interface\n\
         next:\n  cd {directory} && {test}\n  {build}\n"
    )
}

fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Quotes a path for a shell, if necessary.
fn quoted(path: &Path) -> String {
    let text = printable(&path.display().to_string());
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,".contains(c);
    if text.chars().all(is_plain) && !text.starts_with('-') {
        text
    } else {
        format!("-- '{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{quoted, write};

    #[test]
    fn only_empty_directories_are_written_to() {
        let place = tempfile::tempdir().unwrap();
        let project = place.path().join("not/there/yet");
        let files = [("a/b/c", "text"), ("d", "")].map(|(path, text)| (path.to_owned(), text.to_owned()));
        write(&project, &files).unwrap();
        assert_eq!(fs::read_to_string(project.join("a/b/c")).unwrap(), "text");

        fs::write(project.join("d"), "mine").unwrap();
        let error = write(&project, &files).unwrap_err().to_string();
        assert!(error.contains("is not empty, and nothing was written"), "{error}");
        assert_eq!(fs::read_to_string(project.join("d")).unwrap(), "mine");

        let file = place.path().join("file");
        fs::write(&file, "mine").unwrap();
        write(&file, &files).unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

        let empty = place.path().join("empty");
        fs::create_dir(&empty).unwrap();
        write(&empty, &files).unwrap();
        assert!(empty.join("a/b/c").exists());
    }

    #[test]
    fn the_next_command_can_be_pasted() {
        assert_eq!(quoted(Path::new("../my-plugin_2")), "../my-plugin_2");
        assert_eq!(quoted(Path::new("it's here")), r"-- 'it'\''s here'");
        assert_eq!(quoted(Path::new("-x")), "-- '-x'");
        assert_eq!(quoted(Path::new("a;b")), "-- 'a;b'");
    }
}
