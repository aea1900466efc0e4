//! Every project, before any tool has seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;

use super::{WIT_DIR, render};
use crate::cli::plugin::new::{Kind, Language};

/// Names that have something in them which one language or another does not like.
const NAMES: &[&str] = &[
    "roles",
    "match",
    "class",
    "_",
    "2fa",
    "My.plugin_v2",
    "anyhow",
    "componentize-qjs",
];

/// Hands every project to `each`, with what to call it.
fn for_all(mut each: impl FnMut(&str, Vec<(String, String)>)) {
    for language in Language::value_variants() {
        for kind in Kind::value_variants() {
            for name in NAMES {
                each(
                    &format!("{language:?} {kind:?} {name}"),
                    render(*language, *kind, name),
                );
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A file of a project.
fn file(language: Language, name: &str, path: &str) -> String {
    let files: BTreeMap<_, _> = render(language, Kind::Provider, name).into_iter().collect();
    files[path].clone()
}

#[test]
fn all_placeholders_are_replaced() {
    for_all(|project, files| {
        let paths: BTreeSet<_> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths.len(), files.len(), "{project}: a path comes twice");
        for (path, text) in &files {
            assert!(!text.contains("{{"), "{project}: {path}");
            assert!(
                text.ends_with('\n') && !text.ends_with("\n\n"),
                "{project}: {path}"
            );
        }
        for wanted in ["README.md", ".gitignore", "gateway.toml"] {
            assert!(paths.contains(&wanted), "{project}: no {wanted}");
        }
    });
}

#[test]
fn toml_and_json_can_be_parsed() {
    for_all(|project, files| {
        for (path, text) in &files {
            match Path::new(path)
                .extension()
                .and_then(|extension| extension.to_str())
            {
                Some("toml" | "lock") => drop(
                    text.parse::<toml::Table>()
                        .unwrap_or_else(|error| panic!("{project}: {path}: {error}")),
                ),
                Some("json") => drop(
                    serde_json::from_str::<serde_json::Value>(text)
                        .unwrap_or_else(|error| panic!("{project}: {path}: {error}")),
                ),
                _ => {}
            }
        }
    });
}

#[test]
fn gateway_toml_configures_the_plugin() {
    for_all(|project, files| {
        let plugin_name = project.rsplit(' ').next().unwrap();
        let (_, text) = files.iter().find(|(path, _)| path == "gateway.toml").unwrap();
        let configuration: toml::Table = text.parse().unwrap();
        let plugin = &configuration["plugin"][plugin_name];
        assert_eq!(plugin["grants"].as_array().unwrap().len(), 1, "{project}");
        match configuration.get("service") {
            Some(service) => assert_eq!(service[plugin_name]["plugin"].as_str(), Some(plugin_name)),
            None => assert_eq!(configuration["extensions"][0].as_str(), Some(plugin_name)),
        }
    });
}

#[test]
fn projects_contain_the_interface_unchanged() {
    let interface: BTreeMap<String, String> = fs::read_dir(root().join("wit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            (format!("{WIT_DIR}/{name}"), fs::read_to_string(&path).unwrap())
        })
        .collect();
    for_all(|project, files| {
        let written: BTreeMap<String, String> = files
            .into_iter()
            .filter(|(path, _)| path.starts_with(WIT_DIR))
            .collect();
        assert_eq!(written, interface, "{project}");
    });
}

#[test]
fn worlds_match_the_interface() {
    let package = include_str!("../../../../../../../wit/worlds.wit");
    let (_, rest) = package.split_once("package auth-gateway:plugin@").unwrap();
    let (version, _) = rest.split_once(';').unwrap();
    for_all(|project, files| {
        let mut found = 0;
        for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("wit/deps")) {
            for (_, after) in text
                .match_indices("auth-gateway:plugin/")
                .map(|(at, found)| text.split_at(at + found.len()))
            {
                let (_, rest) = after.split_once('@').unwrap();
                assert!(rest.starts_with(version), "{project}: {path}: {after:.40}");
                found += 1;
            }
        }
        assert!(found >= 2, "{project}");
    });
}

/// The conformance cases cover the versions that the examples pin, so new projects begin with these versions.
#[test]
fn versions_equal_those_of_the_examples() {
    assert_eq!(
        file(Language::Rust, "roles", "Cargo.lock"),
        read("guest-examples/rust-role-provider/Cargo.lock")
    );
    let packages = |text: &str| {
        let mut lock: serde_json::Value = serde_json::from_str(text).unwrap();
        let packages = lock["packages"].as_object_mut().unwrap();
        packages.remove("").unwrap();
        packages.clone()
    };
    assert_eq!(
        packages(&file(Language::Js, "roles", "package-lock.json")),
        packages(&read("guest-examples/js-role-provider/package-lock.json"))
    );
    for (language, example) in [(Language::Python, "python"), (Language::C, "c")] {
        assert_eq!(
            file(language, "roles", "requirements.txt"),
            read(&format!(
                "guest-examples/{example}-role-provider/requirements.txt"
            ))
        );
    }
    // Projects in C get their bindings from the gateway, and the example from the tool itself.
    let build = read("guest-examples/build");
    let lock = read("Cargo.lock");
    let version = build
        .lines()
        .find_map(|line| line.strip_prefix("wit_bindgen="))
        .unwrap();
    assert!(
        lock.contains(&format!("name = \"wit-bindgen-c\"\nversion = \"{version}\"\n")),
        "{version}"
    );
}

#[test]
fn lock_files_are_sorted_like_cargos() {
    for name in NAMES.iter().chain(&["aaa", "zzz", "wit-bindgen"]) {
        let lock: toml::Table = file(Language::Rust, name, "Cargo.lock").parse().unwrap();
        let names: Vec<&str> = lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| package["name"].as_str().unwrap())
            .collect();
        assert!(names.is_sorted(), "{name}: {names:?}");
        let own: Vec<&str> = lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|package| package.get("source").is_none())
            .map(|package| package["name"].as_str().unwrap())
            .collect();
        assert_eq!(own.len(), 1, "{name}");
        // No other package has this name: a lock file would need more than the name to distinguish them.
        assert_eq!(
            names.iter().filter(|other| *other == &own[0]).count(),
            1,
            "{name}"
        );
        let manifest: toml::Table = file(Language::Rust, name, "Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(own[0]));
    }
}

#[test]
fn every_language_names_the_component_after_the_plugin() {
    for plugin_name in NAMES {
        assert!(crate::config::read_name(plugin_name).is_ok(), "{plugin_name}");
        for (language, path) in [
            (Language::Rust, "README.md"),
            (Language::Js, "package.json"),
            (Language::Python, "Makefile"),
            (Language::C, "Makefile"),
        ] {
            let text = file(language, plugin_name, path);
            assert!(
                text.contains(&format!(" {plugin_name}.wasm")),
                "{language:?} {plugin_name}"
            );
        }
    }
}
