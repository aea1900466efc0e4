//! The tables of `docs/configuration.md`, generated from the declarations of the settings.

use std::fs;
use std::path::{Path, PathBuf};

use super::Setup;
use crate::config::setting::{Documented, Form, Section, Setting, Shape, children, file_key};
use crate::config::settings::SECTIONS;

/// The repository.
pub(super) fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_dir
        .ancestors()
        .find(|dir| dir.join("docs/configuration.md").is_file());
    root.expect("a directory with docs").to_owned()
}

/// The page with newly generated tables.
fn generated(page: &str) -> String {
    const BEGIN: &str = "<!-- settings: ";
    const END: &str = "<!-- end of settings -->";
    let mut text = String::new();
    let mut sections: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (names, after) = after.split_once(" -->").expect("the end of a marker");
        let (_, after) = after.split_once(END).expect("the end of a table");
        let wanted: Vec<&Section> = names
            .split(", ")
            .map(|name| {
                sections.retain(|section| *section != name);
                SECTIONS.iter().find(|section| section.name == name).copied()
            })
            .map(|section| section.unwrap_or_else(|| panic!("there is no struct of {names}")))
            .collect();
        text += &format!("{before}{BEGIN}{names} -->\n{}{END}", table(&wanted));
        rest = after;
    }
    assert!(
        sections.is_empty(),
        "docs/configuration.md has no table of {sections:?}"
    );
    text + rest
}

fn table(sections: &[&Section]) -> String {
    let settings = || {
        sections
            .iter()
            .flat_map(|section| section.settings.iter().map(move |setting| (*section, setting)))
    };
    // The variables of providers follow from their keys.
    let has_variables = settings()
        .any(|(section, setting)| !section.path.starts_with("providers.") && !setting.variables.is_empty());
    let has_kinds = settings().any(|(_, setting)| !setting.only.is_empty());
    let mut columns = vec!["key"];
    columns.extend(has_variables.then_some("variable"));
    columns.extend(has_kinds.then_some("kind"));
    columns.extend(["default", "meaning"]);
    let mut table = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (section, setting) in settings() {
        let reload = if setting.reloadable { " ↻" } else { "" };
        let mut cells = vec![format!("`{}`{reload}", key(section, setting.key))];
        cells.extend(has_variables.then(|| code(setting.variables)));
        cells.extend(has_kinds.then(|| code(setting.only)));
        cells.push(default(setting));
        cells.push(meaning(setting));
        table += &format!("| {} |\n", cells.join(" | "));
        if setting.shape.has_file() {
            let mut cells = vec![format!("`{}`{reload}", key(section, &file_key(setting.key)))];
            let variables: Vec<String> = setting
                .variables
                .iter()
                .map(|variable| format!("{variable}_FILE"))
                .collect();
            let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
            cells.extend(has_variables.then(|| code(&variables)));
            cells.extend(has_kinds.then(|| code(setting.only)));
            cells.push("none".to_owned());
            let lines = if setting.shape == Shape::Secrets {
                ", one in each line"
            } else {
                ""
            };
            cells.push(format!(
                "A file that contains `{}`{lines}.",
                key(section, setting.key)
            ));
            table += &format!("| {} |\n", cells.join(" | "));
        }
    }
    table
}

/// A key in the documentation, without the part of the path that ends with a name.
fn key(section: &Section, key: &str) -> String {
    let path = section
        .path
        .split_once("NAME")
        .map_or(section.path, |(_, path)| path);
    let key = format!("{path}.{key}");
    key.trim_start_matches('.').to_owned()
}

fn code(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn default(setting: &Setting) -> String {
    match (setting.default)() {
        Documented::Value(value) => format!("`{value}`"),
        Documented::Words(words) => words.to_owned(),
        Documented::Nothing => "none".to_owned(),
    }
}

fn meaning(setting: &Setting) -> String {
    let mut meaning = setting.doc.trim().replace('|', "\\|");
    match (setting.min, setting.max) {
        (Some(min), Some(max)) => meaning += &format!(" From `{min}` to `{max}`."),
        (Some(min), None) => meaning += &format!(" At least `{min}`."),
        (None, Some(max)) => meaning += &format!(" At most `{max}`."),
        (None, None) => {}
    }
    meaning
}

#[test]
fn the_documentation_has_the_tables_of_the_declarations() {
    let path = root().join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let generated = generated(&page);
    if std::env::var_os("WRITE_SETTINGS").is_some() {
        fs::write(path, generated).unwrap();
    } else {
        assert!(
            page == generated,
            "docs/configuration.md is not up to date: run `just settings`"
        );
    }
}

#[test]
fn declarations_agree_with_each_other() {
    let mut keys: Vec<String> = Vec::new();
    for section in SECTIONS {
        for setting in section.settings {
            for key in setting.keys().chain(setting.alias.map(str::to_owned)) {
                let key = format!("{}.{key}", section.path);
                assert!(!keys.contains(&key), "{key} is declared twice");
                assert!(
                    !children(SECTIONS, section.path).contains(&setting.key),
                    "{key} is a table too"
                );
                keys.push(key);
            }
            let doc = setting.doc.trim();
            assert!(
                doc.ends_with('.') && !doc.contains("  "),
                "{}: {doc}",
                setting.key
            );
            // The variables of providers follow from their keys, which messages and the documentation rely on.
            if let Some(path) = section.path.strip_prefix("providers.NAME") {
                let key = format!("{path}.{}", setting.key)
                    .trim_start_matches('.')
                    .replace('.', "_")
                    .to_uppercase();
                assert_eq!(setting.variables, [format!("GATEWAY_PROVIDER_NAME_{key}")]);
            }
            // The documentation explains each word, here or on the page that it links to.
            let Form::Words(words) = setting.form else {
                continue;
            };
            let linked = fs::read_to_string(root().join("docs/plugins/reference.md")).unwrap();
            let links = doc.contains("](plugins/reference.md");
            for word in words() {
                let word = format!("`{word}`");
                assert!(
                    doc.contains(&word) || links && linked.contains(&word),
                    "{}: {word} is not explained",
                    setting.key
                );
            }
        }
    }
    assert!(keys.len() > 120, "{}", keys.len());
}

#[test]
fn bounds_are_values_of_their_settings() {
    for section in SECTIONS.iter().filter(|section| !section.path.contains("NAME")) {
        for setting in section.settings {
            for (bound, other) in [(setting.min, "0"), (setting.max, "9999999999")] {
                let Some(bound) = bound else { continue };
                let table = if section.path.is_empty() {
                    String::new()
                } else {
                    format!("[{}]\n", section.path)
                };
                let key = format!("{}.{}: ", section.path, setting.key);
                let mistakes = |value: &str| {
                    let setup =
                        Setup::with_key(&format!("{table}{} = {value:?}\nnone = 1\n", setting.key), &[]);
                    let is_it = |mistake: &String| mistake.contains(&key) && !mistake.contains("half of");
                    setup.mistakes().into_iter().filter(is_it).count()
                };
                assert_eq!((mistakes(bound), mistakes(other)), (0, 1), "{key}{bound}");
            }
        }
    }
}
