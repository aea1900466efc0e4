//! `gateway plugin new`: a project for a new plugin, from what the binary has inside.
//!
//! | module | what it does |
//! |---|---|
//! | `name` | what becomes of the plugin's name where a language has other rules |
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
    /// What to write it in
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// What the plugin is for
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where to write it: a directory that is empty or not there yet [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The plugin's name in the gateway's configuration; the component will be NAME.wasm
    #[arg(value_parser = config::read_name)]
    name: String,
}

/// The languages that there are templates for.
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
    /// How people write it.
    const fn written(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    /// The commands that test a new project and build it, run in its directory.
    const fn next(self) -> [&'static str; 2] {
        match self {
            Self::Js => ["npm ci && npm test", "npm run build"],
            Self::Rust | Self::Python | Self::C => ["make test", "make"],
        }
    }
}

/// What a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A permission provider: says what a user may do in a service
    Provider,
    /// An extension: asked when somebody signs in
    Extension,
}

impl Kind {
    const fn written(self) -> &'static str {
        match self {
            Self::Provider => "a permission provider",
            Self::Extension => "an extension",
        }
    }
}

pub(super) fn run(new: &New) -> anyhow::Result<()> {
    let directory = new.path.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    let files = template::render(new.lang, new.kind, &new.name);
    write(&directory, &files)?;
    report(said(new, &directory, &files).as_bytes());
    Ok(())
}

/// Writes files, each with its path in the directory, which is made where it is missing.
fn write(directory: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {shown}"))?;
    let is_empty = fs::read_dir(directory)
        .with_context(|| format!("cannot read the directory {shown}"))?
        .next()
        .is_none();
    if !is_empty {
        bail!("{shown} is not empty, and nothing was written: say by --path where the project shall be");
    }
    for (path, text) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make the directory {}", parent.display()))?;
        }
        // Never over a file: it would be one that somebody has put there this very moment.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What the author reads: what there is now, and what to do with it.
fn said(new: &New, directory: &Path, files: &[(String, String)]) -> String {
    let shown = printable(&directory.display().to_string());
    let (kind, language) = (new.kind.written(), new.lang.written());
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
        // The Makefile runs the gateway, and would not find it.
        if let Ok(own) = env::current_exe() {
            build += &format!(" GATEWAY={}", quoted(&own));
        }
    }
    format!(
        "{shown}: {kind} in {language}\n{own}  {interface}/: the gateway's interface\n\
         next:\n  cd {directory} && {test}\n  {build}\n"
    )
}

/// Whether a shell finds a program.
fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A path as a shell takes it.
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
    fn writes_into_what_is_empty_and_over_nothing() {
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
