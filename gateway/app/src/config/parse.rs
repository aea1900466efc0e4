//! Parses TOML text to a [`Table`], and reports all mistakes: unknown keys, and values of the wrong shape.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, nearest};
use super::setting::{Section, Setting, Shape, children, is_placeholder};
use super::sources::Origin;

/// Any value but a list or a table.
const SCALAR: &str = "a text, number or boolean";

/// The settings in one table of the file. Tables keep the order of the file.
#[derive(Default)]
pub(super) struct Table {
    /// The place of its name.
    pub(super) origin: Option<Origin>,
    pub(super) settings: BTreeMap<String, Written>,
    pub(super) tables: Vec<(String, Self)>,
}

/// The value of a setting in the file.
#[derive(Clone)]
pub(super) enum Written {
    /// A text, number or boolean, as text.
    Value(String, Origin),
    /// Several of these, and the place of the list.
    List(Vec<(String, Origin)>, Origin),
    /// Names and values. In nested tables, the name is a path with dots.
    Pairs(Vec<(String, String, Origin)>),
}

impl Written {
    pub(super) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Value(_, origin) | Self::List(_, origin) => Some(origin),
            Self::Pairs(pairs) => pairs.first().map(|(_, _, origin)| origin),
        }
    }
}

/// Parses the text of a file. A mistake without a key means that it is not TOML.
pub(super) fn parse(sections: &[&'static Section], path: &Path, text: &str) -> (Table, Vec<ConfigError>) {
    let mut reader = Reader {
        sections,
        path: path.into(),
        lines: std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect(),
        mistakes: Vec::new(),
    };
    let (table, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        // Only the message: the error itself contains the line, which may contain a secret.
        let message = format!("this is not TOML: {}", error.message());
        reader.mistake(&error.span().unwrap_or(0..0), "", message);
    }
    let table = if broken.is_empty() {
        reader.table("", "", table.get_ref())
    } else {
        Table::default()
    };
    (table, reader.mistakes)
}

struct Reader<'a> {
    sections: &'a [&'static Section],
    path: Arc<Path>,
    /// The byte offsets of the lines.
    lines: Vec<usize>,
    mistakes: Vec<ConfigError>,
}

impl Reader<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        Origin::File(Arc::clone(&self.path), line)
    }

    fn mistake(&mut self, span: &Range<usize>, key: &str, message: String) {
        self.mistakes
            .push(ConfigError::new(Some(self.origin(span)), key, message));
    }

    /// Reads a table; `pattern` is the path of its sections, and `path` its own.
    fn table(&mut self, pattern: &'static str, path: &str, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut read = Table::default();
        for (key, value) in entries {
            let (name, span): (&str, _) = (key.get_ref(), key.span());
            let full = join(path, name);
            if let Some((setting, key)) = self.setting(pattern, name) {
                if let Some(alias) = setting.alias.filter(|_| read.settings.contains_key(&key)) {
                    let message =
                        format!("{alias} is an earlier name of {key}, and both are set: keep one of them");
                    self.mistake(&span, &full, message);
                } else if let Some(written) = self.written(setting, key != setting.key, &full, &span, value) {
                    read.settings.insert(key, written);
                }
            } else if let Some(child) = self.child(pattern, name) {
                match value.get_ref() {
                    DeValue::Table(inner) => {
                        let mut inner = self.table(child, &full, inner);
                        inner.origin = Some(self.origin(&span));
                        read.tables.push((name.to_owned(), inner));
                    }
                    _ => {
                        let section = self.sections.iter().find(|section| section.path == child);
                        let expects = section.map_or("a table", |section| section.expects);
                        self.mistake(&span, &full, format!("must be {expects}"));
                    }
                }
            } else {
                let message = self.unknown(pattern, name);
                self.mistake(&span, &full, message);
            }
        }
        read
    }

    /// The setting of a key, and the key without its alias.
    fn setting(&self, pattern: &str, name: &str) -> Option<(&'static Setting, String)> {
        let settings = self.sections.iter().filter(|section| section.path == pattern);
        settings.flat_map(|section| section.settings).find_map(|setting| {
            if setting.alias == Some(name) {
                return Some((setting, setting.key.to_owned()));
            }
            let key = setting.keys().find(|key| key == name)?;
            Some((setting, key))
        })
    }

    /// The pattern of a nested table.
    fn child(&self, pattern: &str, name: &str) -> Option<&'static str> {
        self.sections.iter().find_map(|section| {
            let (part, end) = section.next_part(pattern)?;
            (part == name || is_placeholder(part)).then(|| section.path.get(..end))?
        })
    }

    fn unknown(&self, pattern: &str, name: &str) -> String {
        let sections = self.sections.iter().filter(|section| section.path == pattern);
        let settings = sections.flat_map(|section| section.settings);
        let mut known: Vec<String> = settings.flat_map(Setting::keys).collect();
        known.extend(children(self.sections, pattern).into_iter().map(str::to_owned));
        match nearest(name, known.iter().map(String::as_str)) {
            Some(right) => format!("unknown key; did you mean `{right}`?"),
            None => format!("unknown key; expected one of {}", known.join(", ")),
        }
    }

    fn written(
        &mut self,
        setting: &Setting,
        is_file: bool,
        key: &str,
        span: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Written> {
        let shape = match setting.shape {
            Shape::Secret | Shape::Secrets if is_file => Shape::Value,
            shape => shape,
        };
        match (shape, value.get_ref()) {
            (Shape::Value | Shape::Secret, value) => match scalar(value) {
                Some(text) => return Some(Written::Value(text, self.origin(span))),
                None => self.mistake(span, key, format!("must be {SCALAR}")),
            },
            (Shape::List | Shape::Texts | Shape::Secrets, DeValue::Array(array)) => {
                let mistakes = self.mistakes.len();
                let mut list = Vec::new();
                for element in array.iter() {
                    let is_text = element.get_ref().is_str();
                    match scalar(element.get_ref()) {
                        Some(text) if is_text || shape != Shape::Texts => {
                            list.push((text, self.origin(&element.span())));
                        }
                        Some(_) => {
                            self.mistake(&element.span(), key, "must be a text, as in \"5\"".to_owned())
                        }
                        None => self.mistake(&element.span(), key, format!("must be {SCALAR}")),
                    }
                }
                let is_read = self.mistakes.len() == mistakes;
                return is_read.then(|| Written::List(list, self.origin(span)));
            }
            (Shape::List | Shape::Texts | Shape::Secrets, _) => {
                self.mistake(span, key, "must be a list, as in [\"a\", \"b\"]".to_owned());
            }
            (Shape::Pairs | Shape::Tree, DeValue::Table(table)) => {
                let mut pairs = Vec::new();
                self.pairs(key, "", table, shape == Shape::Tree, &mut pairs);
                return Some(Written::Pairs(pairs));
            }
            (Shape::Pairs, _) => self.mistake(span, key, "must be a table".to_owned()),
            (Shape::Tree, _) => self.mistake(span, key, "must be a table of settings".to_owned()),
        }
        None
    }

    /// Reads names and values, and those of nested tables if the setting is `deep`.
    fn pairs(
        &mut self,
        key: &str,
        path: &str,
        table: &DeTable<'_>,
        deep: bool,
        pairs: &mut Vec<(String, String, Origin)>,
    ) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let (full, span) = (join(path, name.get_ref()), name.span());
            match value.get_ref() {
                DeValue::Table(inner) if deep => self.pairs(key, &full, inner, deep, pairs),
                value => match scalar(value) {
                    Some(text) => pairs.push((full, text, self.origin(&span))),
                    None => {
                        let or_table = if deep {
                            "a text, number, boolean or table"
                        } else {
                            SCALAR
                        };
                        self.mistake(&span, &join(key, &full), format!("must be {or_table}"));
                    }
                },
            }
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A text, number or boolean, as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().parse::<f64>().ok()?.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
