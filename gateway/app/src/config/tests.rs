//! Support for the tests of the configuration: a directory with a file, an environment, a key.

use std::fs;
use std::sync::OnceLock;

use gateway_token::Algorithm;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::{Loaded, Sources, load};

mod docs;
mod http;
mod layers;
mod mistakes;
mod providers;
mod schema;
mod secrets;

/// A PEM key, as text.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        gateway_token::generate_key(Algorithm::ES256)
            .unwrap()
            .0
            .expose_secret()
            .to_owned()
    })
}

/// A compiled JSON Schema.
pub(in crate::config) struct Validator(boon::Schemas, boon::SchemaIndex);

impl Validator {
    pub(in crate::config) fn new(schema: serde_json::Value) -> Self {
        const NAME: &str = "https://gateway.example/schema.json";
        let mut compiler = boon::Compiler::new();
        compiler.add_resource(NAME, schema).unwrap();
        let mut schemas = boon::Schemas::new();
        let index = compiler
            .compile(NAME, &mut schemas)
            .unwrap_or_else(|error| panic!("{error:#}"));
        Self(schemas, index)
    }

    /// # Errors
    /// The validator's message.
    pub(in crate::config) fn check(&self, value: &serde_json::Value) -> Result<(), String> {
        self.0.validate(value, self.1).map_err(|error| error.to_string())
    }
}

/// A directory with a configuration file.
struct Setup {
    directory: TempDir,
    sources: Sources,
}

impl Setup {
    fn new(toml: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        fs::write(&file, toml).unwrap();
        let sources = Sources {
            file: Some(file),
            environment: variables.iter().copied().collect(),
            ..Sources::default()
        };
        Self { directory, sources }
    }

    /// With a key, so that the only mistakes are those of the test.
    fn with_key(toml: &str, variables: &[(&str, &str)]) -> Self {
        let all: Vec<_> = variables
            .iter()
            .copied()
            .chain([("PRIVATE_KEY", key())])
            .collect();
        Self::new(toml, &all)
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// All mistakes, without the directory of the file.
    fn mistakes(&self) -> Vec<String> {
        let text = load(&self.sources).expect_err("there are mistakes").to_string();
        text.replace(&format!("{}/", self.directory.path().display()), "")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The line of the report on a key.
    fn reported(&self, key: &str) -> String {
        let report = self.load().report.to_string();
        let line = report.lines().find(|line| line.split("  ").next() == Some(key));
        let line = line.unwrap_or_else(|| panic!("no {key} in:\n{report}"));
        let line = line.replace(&format!("{}/", self.directory.path().display()), "");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
