//! `gateway config schema`: every file that the gateway accepts is valid.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Validator;
use super::docs::root;
use crate::config::parse::parse;
use crate::config::schema::schema;
use crate::config::settings::SECTIONS;

/// Validates a file.
fn check(validator: &Validator, toml: &str) -> Result<(), String> {
    let file: Json = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    validator.check(&file)
}

/// Files below a directory, except those that are built or installed.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "target" | "out" | "node_modules") {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// Every example in the repository, with its name: files called `gateway.toml`, and TOML in Markdown.
fn examples() -> Vec<(String, String)> {
    let root = root();
    let mut examples = Vec::new();
    let mut found = Vec::new();
    files(&root, "toml", &mut found);
    for path in found.iter().filter(|path| path.ends_with("gateway.toml")) {
        // The files of `gateway plugin new` are templates.
        let text = fs::read_to_string(path)
            .unwrap()
            .replace("{{name}}", "x")
            .replace("{{key}}", "x");
        // Keys and tables in comments are examples too.
        let is_toml = |line: &str| line.starts_with('[') || line.contains(" = ");
        let all = text.lines().map(|line| {
            line.strip_prefix("# ")
                .filter(|line| is_toml(line))
                .unwrap_or(line)
        });
        let all: Vec<&str> = all.collect();
        examples.push((path.display().to_string(), text.clone()));
        if all.join("\n").parse::<toml::Table>().is_ok() {
            examples.push((format!("{} with comments", path.display()), all.join("\n")));
        }
    }
    found.clear();
    files(&root.join("docs"), "md", &mut found);
    files(&root.join("guest-examples"), "md", &mut found);
    found.push(root.join("README.md"));
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            // Some examples are lines for the section of a provider.
            let section = if path.ends_with("providers.md") && !block.contains('[') {
                "[providers.x]\n"
            } else {
                ""
            };
            examples.push((
                format!("{} {number}", path.display()),
                format!("{section}{block}"),
            ));
        }
    }
    examples
}

#[test]
fn every_example_in_the_repository_is_valid() {
    let validator = Validator::new(schema());
    let examples = examples();
    assert!(examples.len() > 40, "{}", examples.len());
    for (name, toml) in examples {
        assert_eq!(check(&validator, &toml), Ok(()), "{name}");
        let (_, mistakes) = parse(SECTIONS, Path::new(&name), &toml);
        assert!(mistakes.is_empty(), "{name}: {mistakes:?}");
    }
}

/// Values in forms that the documentation does not use.
#[test]
fn files_that_the_gateway_accepts_are_valid() {
    let validator = Validator::new(schema());
    let toml = r##"
plugin_dir = 7
extensions = []
default_next = "HTTPS://app.example.org/start"
jsonp = "true"
user_lookup = false
[server]
listen = "localhost:8080"
external_address = "auth.example.org"
trusted_proxies = ["::1", "fd00::/8", "10.1.2.3/16"]
connections = "4_096"
guest_threads = 2
header_timeout = "15 m"
max_body = 1024
[admin]
listen = "[::1]:0"
metrics_listen = "off"
[database]
url = "sqlite://"
user_ids = "email-md5"
[keys]
session_secret_file = "/run/secrets/session"
[tokens]
permission_reuse = "off"
[upstream]
max_body = "1 MiB"
no_proxy = "*"
[rate_limits]
sign_in = "1000 / h"
update = "off"
[pages]
name = 2026
accent = "#2B59C3"
[providers.work]
client_id = 17
client_key_file = "key.pem"
trusted_email = "true"
scopes = ["openid", "user:read:email"]
authorization_parameters = { max_age = 600, acr_values = "gold" }
claims.subject = "id"
[service.a]
provider = "b"
[plugin."a.b"]
prepared = 0
settings = { default = "reader", quota = 5, strict = true, role = { a.b = "c" } }
limits = { fuel = 4_000_000_000 }
[plugin.a.secrets]
token = { env = "TOKEN" }
"##;
    assert_eq!(check(&validator, toml), Ok(()));
    let (_, mistakes) = parse(SECTIONS, Path::new("gateway.toml"), toml);
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn files_that_the_gateway_rejects_are_not_valid() {
    let validator = Validator::new(schema());
    for toml in [
        "extentions = []",
        "jsonp = \"yes\"",
        "origins = \"https://app.example.org\"",
        "origins = [\"app.example.org\"]",
        "extensions = [[\"a\"]]",
        "server = 1",
        "[server]\nlisen = \"127.0.0.1:1\"",
        "[server]\nlisten = 8080",
        "[server]\ndrain = 30",
        "[server]\ndrain = \"30\"",
        "[server]\nguest_threads = 2000",
        "[server]\nmax_body = \"64MB\"",
        "[server]\ntrusted_proxies = [\"proxy.internal\"]",
        "[database]\nurl = \"postgres://db\"",
        "[database]\nuser_ids = \"md5\"",
        "[log]\nformat = \"xml\"",
        "[pages]\naccent = \"blue\"",
        "[rate_limits]\nupdate = \"5\"",
        "[providers.work]\nkind = \"saml\"",
        "[providers.work]\npreset = \"nobody\"",
        "[providers.work]\nissuer = \"id.example.org\"",
        "[providers.work]\naudiences = [5]",
        "[providers.work]\nclaims = { subjekt = \"id\" }",
        "[providers.work]\nauthorization_parameters = { a = [1] }",
        "[service.wiki]\nplugins = \"roles\"",
        "[plugin.x]\ngrants = [\"network\"]",
        "[plugin.x]\nprepared = 65",
        "[plugin.x]\nsettings = { list = [1] }",
        "[plugin.x.secrets]\ntoken = \"secret\"",
        "[plugin.x.limits]\nfuel = 0",
        "[[plugin.x]]",
    ] {
        assert!(check(&validator, toml).is_err(), "{toml}");
    }
}

#[test]
fn descriptions_are_plain_text_with_the_variable() {
    let schema = schema();
    let server = &schema["properties"]["server"]["properties"];
    assert_eq!(
        server["connections"]["description"],
        "Maximum number of connections. When few places are left, idle and slow connections are closed. Variable: \
         GATEWAY_CONNECTIONS."
    );
    assert_eq!(server["connections"]["default"], 4096);
    assert_eq!(server["drain"]["default"], "30s");
    assert_eq!(schema["properties"]["jsonp"]["default"], false);
    let service = &schema["properties"]["service"]["additionalProperties"]["properties"];
    assert_eq!(service["provider"]["deprecated"], true);
}
