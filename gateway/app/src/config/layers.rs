//! The sources in order of strength: each setting is taken from the strongest that has it, read, checked and reported.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use super::error::{self, ConfigError, ConfigErrors, nearest};
use super::parse::{self, Table, Written, join};
use super::report::{Entry, Report, Shown};
use super::setting::{self, Section, Setting};
use super::sources::{FILE_VARIABLE, Origin, Sources};
use super::value::{NAME, Value, is_name};
use super::{Config, Loaded};
use crate::small_file;

mod secrets;

/// Largest configuration file, in bytes: a hundred thousand services and their plugins.
const MAX_FILE: u64 = 16 << 20;

static EMPTY: Table = Table {
    origin: None,
    settings: BTreeMap::new(),
    tables: Vec::new(),
};

/// A table of the file, and the names by which other sources know its settings.
#[derive(Clone)]
pub(super) struct Place<'a> {
    /// As in messages: `providers.work`. Empty for the top level.
    pub(super) path: String,
    /// The section's name, if it has one: `work`.
    pub(super) name: String,
    /// The origin of values that nobody sets.
    pub(super) default: Origin,
    table: &'a Table,
}

impl<'a> Place<'a> {
    pub(super) fn root(table: &'a Table) -> Self {
        Self {
            path: String::new(),
            name: String::new(),
            default: Origin::Default,
            table,
        }
    }

    /// A section with a name that the file does not have.
    pub(super) fn absent(section: &str, name: &str) -> Self {
        Self {
            path: join(section, name),
            name: name.to_owned(),
            ..Self::root(&EMPTY)
        }
    }

    /// A table in this one, which may be missing.
    pub(super) fn section(&self, key: &str) -> Self {
        let table = self.table.tables.iter().find(|(name, _)| name == key);
        Self {
            path: self.key(key),
            table: table.map_or(&EMPTY, |(_, table)| table),
            ..self.clone()
        }
    }

    /// The tables in this one, by name, in the order of the file.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&'a str, Self)> {
        self.table.tables.iter().map(|(name, table)| {
            let place = Self {
                path: self.key(name),
                name: name.clone(),
                table,
                ..self.clone()
            };
            (name.as_str(), place)
        })
    }

    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The place of the section's name, if it is in the file.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.table.origin.clone()
    }

    pub(super) fn written(&self, key: &str) -> Option<&'a Written> {
        self.table.settings.get(key)
    }

    fn variables(&self, setting: &Setting) -> Vec<String> {
        let variables = setting.variables.iter();
        variables
            .map(|variable| setting::variable(variable, &self.name))
            .collect()
    }
}

/// A list of texts with their places, and the place of the list.
pub(super) struct Texts {
    pub(super) list: Vec<(String, Origin)>,
    pub(super) origin: Origin,
}

/// The sources, and the findings so far.
pub(super) struct Layers<'a> {
    pub(super) sources: &'a Sources,
    pub(super) report: Report,
    pub(super) mistakes: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
    notes: Vec<ConfigError>,
    /// Variables that have been read.
    variables: BTreeSet<String>,
    /// By key, the values of providers' presets.
    pub(super) fallbacks: BTreeMap<String, (String, Origin)>,
}

impl<'a> Layers<'a> {
    pub(super) fn read(
        sources: &'a Sources,
        sections: &[&'static Section],
    ) -> Result<(Self, Table), ConfigErrors> {
        let mut layers = Self {
            sources,
            report: Report::default(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            variables: BTreeSet::new(),
            fallbacks: BTreeMap::new(),
        };
        let Some(path) = &sources.file else {
            return Ok((layers, Table::default()));
        };
        let text = match small_file::read_text(path, MAX_FILE) {
            Ok((text, _)) => text,
            Err(error) => {
                let message = format!("cannot read the configuration file {}: {error}", path.display());
                layers.mistake(None, "", message);
                return Err(layers.errors());
            }
        };
        let (file, mistakes) = parse::parse(sections, path, &text);
        layers.mistakes = mistakes;
        // Without a key, the whole file cannot be read, and all other mistakes would follow from that.
        if layers.mistakes.iter().any(|mistake| mistake.key.is_empty()) {
            return Err(layers.errors());
        }
        Ok((layers, file))
    }

    pub(super) fn finish(mut self, config: Config) -> Result<Loaded, ConfigErrors> {
        for name in self.sources.environment.names() {
            if !name.starts_with("GATEWAY_") || name == FILE_VARIABLE || self.variables.contains(name) {
                continue;
            }
            // Kubernetes sets GATEWAY_PORT and others for a service with that name, so warn only of probable typing errors.
            let right = nearest(name, self.variables.iter().map(String::as_str)).map(str::to_owned);
            if let Some(right) = right {
                let warning = format!("the gateway has no variable {name}; did you mean {right}?");
                self.warn_at(Some(Origin::Variable(name.to_owned())), "", warning);
            }
        }
        if !self.mistakes.is_empty() {
            return Err(self.errors());
        }
        let warnings = self.warnings.iter().map(|warning| warning.message.clone());
        Ok(Loaded {
            config,
            warnings: warnings.collect(),
            warned: self.warnings,
            notes: self.notes,
            report: self.report,
        })
    }

    /// Returns a part of the configuration, unless there are mistakes in it.
    pub(super) fn part<T>(mut self, part: T, in_it: impl Fn(&str) -> bool) -> Result<T, ConfigErrors> {
        self.mistakes.retain(|mistake| in_it(&mistake.key));
        if self.mistakes.is_empty() {
            Ok(part)
        } else {
            Err(self.errors())
        }
    }

    fn errors(mut self) -> ConfigErrors {
        error::sort(&mut self.mistakes);
        // A variable that is read twice is reported twice.
        self.mistakes.dedup();
        ConfigErrors(self.mistakes)
    }

    pub(super) fn mistake(&mut self, origin: Option<Origin>, key: &str, message: impl Into<String>) {
        self.mistakes.push(ConfigError::new(origin, key, message));
    }

    /// Reports a mistake in a setting that has been read.
    pub(super) fn reject(&mut self, key: &str, message: impl Into<String>) {
        self.mistake(self.origin(key), key, message);
    }

    /// Whether a mistake in a setting has been reported, so that it has no value although somebody set one.
    pub(super) fn is_mistaken(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warn_at(None, "", warning);
    }

    /// Warns of a setting that has been read.
    pub(super) fn warn_of(&mut self, key: &str, message: impl Into<String>) {
        self.warn_at(self.origin(key), key, message);
    }

    pub(super) fn warn_at(&mut self, origin: Option<Origin>, key: &str, message: impl Into<String>) {
        self.warnings.push(ConfigError::new(origin, key, message));
    }

    pub(super) fn show(&mut self, key: &str, value: String, origin: Origin) {
        self.report.0.push(Entry {
            key: key.to_owned(),
            value: Shown::Text(value),
            origin,
        });
    }

    pub(super) fn show_list(&mut self, key: &str, shown: &[String], origin: Origin) {
        self.show(key, format!("[{}]", shown.join(", ")), origin);
    }

    pub(super) fn hide(&mut self, key: &str, secret: SecretString, origin: Origin) {
        self.report.0.push(Entry {
            key: key.to_owned(),
            value: Shown::Hidden(secret),
            origin,
        });
    }

    /// The origin of a setting that has been read; `None` if nobody has set it.
    pub(super) fn origin(&self, key: &str) -> Option<Origin> {
        self.report.origin(key).cloned()
    }

    /// The value of a variable. One that is not UTF-8 is reported, and counts as not set.
    pub(super) fn variable(&mut self, name: &str, key: &str) -> Option<String> {
        self.variables.insert(name.to_owned());
        match self.sources.environment.get(name)? {
            Ok(text) => Some(text.to_owned()),
            Err(error) => {
                self.mistake(Some(Origin::Variable(name.to_owned())), key, error.to_string());
                None
            }
        }
    }

    pub(super) fn is_set_by_variable(&self, place: &Place<'_>, setting: &Setting) -> bool {
        let is_set = |variable: &str| self.sources.environment.get(variable).is_some();
        let has_file = setting.shape.has_file();
        let mut variables = place.variables(setting).into_iter();
        variables.any(|variable| is_set(&variable) || has_file && is_set(&format!("{variable}_FILE")))
    }

    /// The value in flags and variables.
    fn over_file(&mut self, key: &str, variables: &[String]) -> Option<(String, Origin)> {
        let mut found = None;
        for variable in variables {
            if let Some(text) = self.variable(variable, key) {
                found = found.or(Some((text, Origin::Variable(variable.clone()))));
            }
        }
        match self.sources.flags.get(key) {
            Some((flag, text)) => Some((text.clone(), Origin::Flag(flag))),
            None => found,
        }
    }

    /// The value in the presets of `gateway dev` and of providers.
    fn under_file(&self, key: &str) -> Option<(String, Origin)> {
        match self.sources.presets.settings.get(key) {
            Some(text) => Some((text.clone(), Origin::Preset)),
            None => self.fallbacks.get(key).cloned(),
        }
    }

    fn find(
        &mut self,
        key: &str,
        variables: &[String],
        in_file: Option<&Written>,
    ) -> Option<(String, Origin)> {
        self.over_file(key, variables).or_else(|| match in_file {
            Some(Written::Value(text, origin)) => Some((text.clone(), origin.clone())),
            _ => self.under_file(key),
        })
    }

    /// The text in the strongest source.
    pub(super) fn text(&mut self, place: &Place<'_>, setting: &Setting) -> Option<(String, Origin)> {
        let (key, variables) = (place.key(setting.key), place.variables(setting));
        self.find(&key, &variables, place.written(setting.key))
    }

    /// The value in the strongest source, and its place.
    pub(super) fn optional<T: Value>(&mut self, place: &Place<'_>, setting: &Setting) -> Option<(T, Origin)> {
        let (text, origin) = self.text(place, setting)?;
        let key = place.key(setting.key);
        let value = self.value::<T>(&key, setting, text.trim(), &origin)?;
        self.show(&key, value.show(), origin.clone());
        Some((value, origin))
    }

    /// The list in the strongest source.
    pub(super) fn list(&mut self, place: &Place<'_>, setting: &Setting) -> Option<Texts> {
        let split = |(text, origin): (String, Origin)| {
            let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
            Texts {
                list: parts.map(|part| (part.to_owned(), origin.clone())).collect(),
                origin,
            }
        };
        let key = place.key(setting.key);
        if let Some(found) = self.over_file(&key, &place.variables(setting)) {
            return Some(split(found));
        }
        if let Some(Written::List(list, origin)) = place.written(setting.key) {
            let list = list
                .iter()
                .map(|(text, origin)| (text.trim().to_owned(), origin.clone()));
            return Some(Texts {
                list: list.collect(),
                origin: origin.clone(),
            });
        }
        self.under_file(&key).map(split)
    }

    /// The valid values of a list; the others are reported.
    pub(super) fn values<T: Value>(
        &mut self,
        key: &str,
        setting: &Setting,
        list: Vec<(String, Origin)>,
    ) -> Vec<(T, Origin)> {
        list.into_iter()
            .filter_map(|(text, origin)| {
                let value = self.value::<T>(key, setting, &text, &origin)?;
                Some((value, origin))
            })
            .collect()
    }

    fn value<T: Value>(&mut self, key: &str, setting: &Setting, text: &str, origin: &Origin) -> Option<T> {
        let read = T::read(text).and_then(|value| match out_of_bounds(&value, setting) {
            Some(right) => Err(right),
            None => Ok(value),
        });
        match read {
            Ok(value) => Some(value),
            // The message does not repeat the text, which may contain a password.
            Err(right) => {
                self.mistake(Some(origin.clone()), key, format!("must be {right}"));
                None
            }
        }
    }

    /// The sections of one kind with valid names, in the order of the file.
    pub(super) fn named<'t>(&mut self, file: &Place<'t>, section: &str) -> Vec<Place<'t>> {
        let mut named = Vec::new();
        for (name, place) in file.section(section).tables() {
            if is_name(name) {
                named.push(place);
            } else {
                self.mistake(place.origin(), section, format!("{name:?} must be {NAME}"));
            }
        }
        named
    }
}

/// The bound of its setting or of its kind that a value violates, to follow "must be".
fn out_of_bounds<T: Value>(value: &T, setting: &Setting) -> Option<String> {
    let amount = value.amount()?;
    let of = |bound: &str| T::read(bound).ok()?.amount();
    let (min, max) = (setting.min, setting.max.or(T::MAX));
    if let Some(max) = max.filter(|max| of(max).is_some_and(|most| amount > most)) {
        return Some(format!("at most {max}"));
    }
    let min = min.filter(|min| of(min).is_some_and(|least| amount < least))?;
    Some(format!("at least {min}"))
}

/// The origin with the higher strength wins.
pub(super) fn strength(origin: &Origin) -> u8 {
    match origin {
        Origin::Flag(_) => 4,
        Origin::Variable(_) => 3,
        Origin::File(..) => 2,
        Origin::Preset => 1,
        Origin::Default | Origin::ProviderPreset(_) => 0,
    }
}
