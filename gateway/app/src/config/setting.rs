//! What is known of each setting: its key, its variables, how it is written, its default and what it means.

/// A table of the file, or the part of one that a struct holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// The struct that holds the values: the documentation has a table of each.
    #[cfg(test)]
    pub(crate) name: &'static str,
    /// The path of the table, in which a word in capitals stands for a name: `plugin.NAME.limits`. Empty for the top
    /// level.
    pub(crate) path: &'static str,
    /// What it is for.
    pub(crate) doc: &'static str,
    /// What it must be, to follow "must be".
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

/// A setting as it is declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Below its section.
    pub(crate) key: &'static str,
    /// An earlier name that is still accepted, if there is one.
    pub(crate) alias: Option<&'static str>,
    /// The variables that win over the file, the first that is set. `NAME` in one stands for the section's name.
    pub(crate) variables: &'static [&'static str],
    /// What it means: Markdown, relative to `docs`.
    pub(crate) doc: &'static str,
    /// What holds if nobody sets it.
    pub(crate) default: fn() -> Documented,
    /// How it is written in the file.
    pub(crate) shape: Shape,
    /// How one value is written.
    pub(crate) form: Form,
    /// The least that it may be, if there is a bound.
    pub(crate) min: Option<&'static str>,
    /// The most that it may be, if the bound is not that of its kind.
    pub(crate) max: Option<&'static str>,
    /// Whether a reload applies it.
    pub(crate) reloadable: bool,
    /// Whether only the configuration of a particular gateway has it, and not the file of a plugin's project.
    pub(crate) installation: bool,
    /// The kinds of upstream provider that it is for, if not all.
    pub(crate) only: &'static [&'static str],
}

impl Setting {
    /// What holds for a setting that does not say otherwise.
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

    /// The keys by which the file may set it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        let file = self.shape.has_file().then(|| file_key(self.key));
        std::iter::once(self.key.to_owned()).chain(file)
    }
}

/// The key of the file that a secret may be in.
pub(crate) fn file_key(key: &str) -> String {
    format!("{key}_file")
}

/// A default, for documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Documented {
    /// A value, as it is written.
    Value(String),
    /// Where it comes from: Markdown.
    Words(&'static str),
    /// There is none.
    Nothing,
}

/// How a value is written in the file. A number or boolean may always be a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Any text, number or boolean.
    Scalar,
    Boolean,
    /// A whole number between these, or a text that matches this regular expression.
    Number(&'static str, usize, Option<usize>),
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// Of so many characters.
    Short(usize),
    /// One of these words.
    Words(fn() -> Vec<&'static str>),
    /// The same, or `off`.
    OrOff(&'static Form),
}

/// How a setting is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text, number or boolean.
    Value,
    /// A list of them. In a variable, they are separated by `;`.
    List,
    /// A list of texts, in which a number is a mistake.
    Texts,
    /// A text, or a file that contains it, named by the key and `_file`.
    Secret,
    /// A list of texts, or such a file, with one in each line.
    Secrets,
    /// A table of texts, numbers and booleans.
    Pairs,
    /// The same with tables in it, which are flattened.
    Tree,
}

impl Shape {
    /// Whether it may be in a file of its own.
    pub(crate) const fn has_file(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }
}

/// The tables that a table may have in it.
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

/// The variable that a declaration names, for a section of this name.
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

/// The variables of dgp-oauth2, for the providers that it had.
const OLD_VARIABLES: [(&str, &str, &str); 4] = [
    ("google", "GATEWAY_PROVIDER_NAME_CLIENT_ID", "GOOGLE_KEY"),
    ("google", "GATEWAY_PROVIDER_NAME_CLIENT_SECRET", "GOOGLE_SECRET"),
    ("github", "GATEWAY_PROVIDER_NAME_CLIENT_ID", "GITHUB_KEY"),
    ("github", "GATEWAY_PROVIDER_NAME_CLIENT_SECRET", "GITHUB_SECRET"),
];

/// A name as it stands in variables: upper case, `_` for anything but letters and digits.
pub(crate) fn in_variable(name: &str) -> String {
    let upper = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(upper).collect()
}
