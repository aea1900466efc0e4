//! The declaration of a setting as data: its key, variables, form, default and documentation.

/// A table of the file, or the part of it in one struct.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// The struct; the documentation has a table for each.
    #[cfg(test)]
    pub(crate) name: &'static str,
    /// The path of the table, with words in capitals for names: `plugin.NAME.limits`. Empty for the top level.
    pub(crate) path: &'static str,
    pub(crate) doc: &'static str,
    /// Follows "must be" in the error for another value.
    pub(crate) expects: &'static str,
    /// In the order of the documentation.
    pub(crate) settings: &'static [Setting],
}

impl Section {
    /// The part of the path that follows `path`, and where it ends.
    pub(crate) fn next_part(&self, path: &str) -> Option<(&'static str, usize)> {
        let below = match path {
            "" => self.path,
            path => self.path.strip_prefix(path)?.strip_prefix('.')?,
        };
        let part = below.split('.').next().filter(|part| !part.is_empty())?;
        Some((part, self.path.len() - below.len() + part.len()))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Without the path of its section.
    pub(crate) key: &'static str,
    /// An earlier name that is still accepted.
    pub(crate) alias: Option<&'static str>,
    /// Variables, of which the first that is set wins over the file. `NAME` stands for the section's name.
    pub(crate) variables: &'static [&'static str],
    /// Markdown with links relative to `docs`.
    pub(crate) doc: &'static str,
    pub(crate) default: fn() -> Documented,
    /// How it is written in the file.
    pub(crate) shape: Shape,
    /// How each value is written.
    pub(crate) form: Form,
    pub(crate) min: Option<&'static str>,
    /// If the bound differs from that of its kind.
    pub(crate) max: Option<&'static str>,
    /// Whether a reload applies it.
    pub(crate) reloadable: bool,
    /// Whether the configuration of a particular gateway may have it, but not the file of a plugin's project.
    pub(crate) installation: bool,
    /// The kinds of upstream provider that it applies to; empty for all.
    pub(crate) only: &'static [&'static str],
}

impl Setting {
    pub(crate) const PLAIN: Self = Self {
        key: "",
        alias: None,
        variables: &[],
        doc: "",
        default: || Documented::Nothing,
        shape: Shape::Value,
        form: Form::Scalar,
        min: None,
        max: None,
        reloadable: false,
        installation: false,
        only: &[],
    };

    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        let file = self.shape.has_file().then(|| file_key(self.key));
        std::iter::once(self.key.to_owned()).chain(file)
    }
}

/// The key that names the file of a secret.
pub(crate) fn file_key(key: &str) -> String {
    format!("{key}_file")
}

/// A default, for documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Documented {
    /// A value, as it is written.
    Value(String),
    /// A description in Markdown.
    Words(&'static str),
    Nothing,
}

/// How a value is written in the file. A number or boolean may always be a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Any text, number or boolean.
    Scalar,
    Boolean,
    /// A whole number between these bounds, or a text that matches this regular expression.
    Number(&'static str, usize, Option<usize>),
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// Up to this number of characters.
    Short(usize),
    Words(fn() -> Vec<&'static str>),
    /// Another form, or `off`.
    OrOff(&'static Form),
}

/// How a setting is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text, number or boolean.
    Value,
    /// A list of them, separated by `;` in a variable.
    List,
    /// A list of texts, in which a number is a mistake.
    Texts,
    /// A text, or a file that contains it, with a key that ends in `_file`.
    Secret,
    /// A list of texts, or a file with one per line.
    Secrets,
    /// A table of texts, numbers and booleans.
    Pairs,
    /// The same with nested tables, which are flattened.
    Tree,
}

impl Shape {
    /// Whether it may be in its own file.
    pub(crate) const fn has_file(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }
}

/// The names of the tables that a table may contain.
pub(crate) fn children(sections: &[&Section], path: &str) -> Vec<&'static str> {
    let mut parts: Vec<&'static str> = Vec::new();
    for (part, _) in sections.iter().filter_map(|section| section.next_part(path)) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Whether a part of a section's path stands for a name.
pub(crate) fn is_placeholder(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The variable that a declaration names, for a section with this name.
pub(crate) fn variable(declared: &str, name: &str) -> String {
    let old = OLD_VARIABLES
        .iter()
        .find(|(of, variable, _)| *of == name && *variable == declared);
    match old {
        Some((_, _, old)) => (*old).to_owned(),
        None if name.is_empty() => declared.to_owned(),
        None => declared.replacen("NAME", &in_variable(name), 1),
    }
}

/// The variables of dgp-oauth2 for its providers.
const OLD_VARIABLES: [(&str, &str, &str); 4] = [
    ("google", "GATEWAY_PROVIDER_NAME_CLIENT_ID", "GOOGLE_KEY"),
    ("google", "GATEWAY_PROVIDER_NAME_CLIENT_SECRET", "GOOGLE_SECRET"),
    ("github", "GATEWAY_PROVIDER_NAME_CLIENT_ID", "GITHUB_KEY"),
    ("github", "GATEWAY_PROVIDER_NAME_CLIENT_SECRET", "GITHUB_SECRET"),
];

/// A name as part of a variable: upper case, with `_` for anything but letters and digits.
pub(crate) fn in_variable(name: &str) -> String {
    name.to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}
