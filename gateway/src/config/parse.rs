//! TOML text to [`File`], with all mistakes in it: whatever cannot be used is told, taken out, and the
//! rest is read again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, nearest};
use super::file::File;
use super::sources::Origin;

/// The file that settings are in.
#[derive(Debug, Default)]
pub(super) struct Source {
    path: PathBuf,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let begins = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            path: path.to_owned(),
            lines: std::iter::once(0).chain(begins).collect(),
        }
    }

    /// The place of what stands at `span`.
    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File(
            self.path.clone(),
            self.lines.partition_point(|begin| *begin <= span.start),
        )
    }

    fn mistake(&self, span: Option<&Range<usize>>, key: String, message: String) -> ConfigError {
        let origin = self.origin(span.unwrap_or(&(0..0)));
        ConfigError {
            origin: Some(origin),
            key,
            message,
        }
    }
}

/// Reads the text of a file.
pub(super) fn parse(source: &Source, text: &str) -> (File, Vec<ConfigError>) {
    let (mut table, broken) = DeTable::parse_recoverable(text);
    if !broken.is_empty() {
        // Only the messages: the errors themselves would show the line, which may hold a secret.
        let mistakes = broken
            .iter()
            .map(|error| {
                let message = format!("this is not TOML: {}", error.message());
                source.mistake(error.span().as_ref(), String::new(), message)
            })
            .collect();
        return (File::default(), mistakes);
    }
    let mut mistakes = Vec::new();
    loop {
        let error = match File::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(file) => return (file, mistakes),
            Err(error) => error,
        };
        let path = error.span().and_then(|span| take_out(table.get_mut(), &span));
        let key = path.unwrap_or_default();
        mistakes.push(source.mistake(error.span().as_ref(), key.join("."), explain(error.message())));
        if key.is_empty() {
            return (File::default(), mistakes);
        }
    }
}

/// Takes the innermost entry out that `span` is in; gives its path.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut()
            && let Some(mut path) = take_out(inner, span)
        {
            path.insert(0, key.get_ref().to_string());
            return Some(path);
        }
    }
    let key = table
        .iter()
        .find(|(key, value)| holds(key.span()) || holds(value.span()))
        .map(|(key, _)| key.clone())?;
    table.remove(&key);
    Some(vec![key.get_ref().to_string()])
}

/// Serde's message in the operator's words.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let wrong = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        return match nearest(wrong, known.iter().copied()) {
            Some(right) => format!("there is no such key; did you mean `{right}`?"),
            None => format!("there is no such key; there are {}", known.join(", ")),
        };
    }
    // What was found is left out: it may be a secret.
    let expected = message
        .split_once("expected ")
        .map_or("something else", |(_, expected)| expected);
    match expected {
        "a string" => "must be a text, as in \"5\"".to_owned(),
        "a sequence" => "must be a list, as in [\"a\", \"b\"]".to_owned(),
        expected if expected.starts_with("struct ") || expected == "a map" => "must be a table".to_owned(),
        expected => format!("must be {expected}"),
    }
}
