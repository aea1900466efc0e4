//! The language of a page: the one that the browser prefers (RFC 9110 section 12.5.4) among the translations, otherwise
//! English.

use std::sync::LazyLock;

use hyper::header::{ACCEPT_LANGUAGE, HeaderMap};

use super::texts::Texts;

/// Each language's tag (RFC 5646) and file. The first is the default.
const TRANSLATIONS: [(&str, &str); 2] = [
    ("en", include_str!("../../templates/text/en.toml")),
    ("de", include_str!("../../templates/text/de.toml")),
];

#[expect(
    clippy::expect_used,
    reason = "the files are compiled in, and a test reads each of them"
)]
static TEXTS: LazyLock<[Texts; TRANSLATIONS.len()]> = LazyLock::new(|| {
    TRANSLATIONS.map(|(_, file)| toml::from_str(file).expect("a translation with all texts"))
});

/// The most ranges that are read from the headers. Real browsers send a handful.
const MAX_RANGES: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Language(usize);

impl Language {
    /// The best match for the request's `Accept-Language`.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT_LANGUAGE).iter();
        let ranges = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .take(MAX_RANGES);
        let mut best: Option<(f32, Self)> = None;
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1.0), |quality| quality.parse().ok());
            let (Some(language), Some(quality)) = (Self::of_tag(tag), quality) else {
                continue;
            };
            if quality > 0.0 && quality <= 1.0 && best.is_none_or(|(most, _)| quality > most) {
                best = Some((quality, language));
            }
        }
        best.map(|(_, language)| language).unwrap_or_default()
    }

    /// The language for a range: `de-AT` is German, and `*` is the default.
    fn of_tag(tag: &str) -> Option<Self> {
        if tag == "*" {
            return Some(Self::default());
        }
        let primary = tag.split('-').next().unwrap_or_default();
        let is = |(known, _): &(&str, &str)| known.eq_ignore_ascii_case(primary);
        TRANSLATIONS.iter().position(is).map(Self)
    }

    /// For `lang` and `Content-Language`.
    pub(crate) fn tag(self) -> &'static str {
        TRANSLATIONS.get(self.0).unwrap_or(&TRANSLATIONS[0]).0
    }

    pub(super) fn texts(self) -> &'static Texts {
        let [first, ..] = &*TEXTS;
        TEXTS.get(self.0).unwrap_or(first)
    }

    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..TRANSLATIONS.len()).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hyper::header::{ACCEPT_LANGUAGE, HeaderMap};

    use super::{Language, TRANSLATIONS};

    fn asked(text: &str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, text.parse().unwrap());
        Language::asked_for(&headers).tag()
    }

    #[test]
    fn the_best_translated_language_is_chosen() {
        assert_eq!(Language::asked_for(&HeaderMap::new()).tag(), "en");
        for (header, tag) in [
            ("de", "de"),
            ("DE-at", "de"),
            ("de-DE,de;q=0.9,en;q=0.8", "de"),
            ("en-GB,en;q=0.9,de;q=0.8", "en"),
            ("fr,de;q=0.7,en;q=0.3", "de"),
            ("fr;q=1, en;q=0.4, de;q=0.5", "de"),
            ("fr, es", "en"),
            ("fr, *;q=0.1", "en"),
            ("de;q=0, en", "en"),
            ("de;q=0", "en"),
            ("de;q=2", "en"),
            ("de;q=nan", "en"),
            ("de;q=x", "en"),
            ("deutsch", "en"),
            ("", "en"),
            (",,;q=1,-", "en"),
            (&("fr,".repeat(40) + "de"), "en"),
        ] {
            assert_eq!(asked(header), tag, "{header}");
        }
    }

    /// The names of all keys, with the placeholders of each text.
    fn keys(file: &str) -> BTreeSet<String> {
        fn collect(path: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
            match value {
                toml::Value::Table(table) => {
                    for (key, value) in table {
                        collect(&format!("{path}.{key}"), value, keys);
                    }
                }
                other => {
                    let text = other.as_str().unwrap();
                    assert!(!text.trim().is_empty(), "{path} is empty");
                    let mut names: Vec<&str> = text
                        .split('{')
                        .skip(1)
                        .filter_map(|rest| rest.split('}').next())
                        .collect();
                    names.sort_unstable();
                    names.dedup();
                    keys.insert(format!("{path}{names:?}"));
                }
            }
        }
        let mut all = BTreeSet::new();
        collect("", &toml::from_str(file).unwrap(), &mut all);
        all
    }

    #[test]
    fn each_translation_has_every_text_with_the_same_placeholders() {
        let english = keys(TRANSLATIONS[0].1);
        for (tag, file) in TRANSLATIONS {
            assert_eq!(keys(file), english, "{tag}");
        }
        for language in Language::all() {
            assert!(!language.texts().common.skip.is_empty());
        }
    }
}
