//! The files of a new project, which stand in `templates/plugin`.
//!
//! | in a template | stands for |
//! |---|---|
//! | `{{name}}` | the plugin's name |
//! | `{{key}}` | the same as a key of a TOML table |
//! | `{{package}}` | the same as a cargo or npm package's name |
//! | `{{crate}}` | the name of that cargo package's crate, and so of what cargo makes |
//! | `{{about}}`, `{{use}}` | the parts of a README that are the same in every language |
//! | `{{rule}}` | the name of the function that is worth changing |

use gateway_sandbox::Grant;

use super::{Kind, Language, name};

/// Where a project has the gateway's interface.
pub(super) const WIT_DIR: &str = "wit/deps/auth-gateway";

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../templates/plugin/", $path))
    };
}

macro_rules! wit {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../../wit/", $name, ".wit")))),*]
    };
}

/// A path in the project, and the text or its template.
type File = (&'static str, &'static str);

/// The exports and types of the gateway's interface. [`Grant::wit`] has the imports.
const WIT: &[File] = wit![
    "on-new-user",
    "on-user-login",
    "on-user-logout",
    "permission-provider",
    "types",
    "worlds",
];

/// The files of a language, whatever the kind.
const fn of_language(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &[
            ("README.md", template!("rust/README.md")),
            (".gitignore", template!("rust/gitignore")),
            ("Makefile", template!("rust/Makefile")),
            ("Cargo.toml", template!("rust/Cargo.toml")),
            ("Cargo.lock", template!("rust/Cargo.lock")),
        ],
        Language::Js => &[
            ("README.md", template!("js/README.md")),
            (".gitignore", template!("js/gitignore")),
            ("package.json", template!("js/package.json")),
            ("package-lock.json", template!("js/package-lock.json")),
        ],
        Language::Python => &[
            ("README.md", template!("python/README.md")),
            (".gitignore", template!("python/gitignore")),
            ("Makefile", template!("python/Makefile")),
            ("requirements.txt", template!("python/requirements.txt")),
        ],
        Language::C => &[
            ("README.md", template!("c/README.md")),
            (".gitignore", template!("c/gitignore")),
            ("Makefile", template!("c/Makefile")),
            ("requirements.txt", template!("c/requirements.txt")),
            ("include/assert.h", template!("c/assert.h")),
        ],
    }
}

/// The sources of a kind in a language.
const fn sources(language: Language, kind: Kind) -> &'static [File] {
    match (language, kind) {
        (Language::Rust, Kind::Provider) => &[("src/lib.rs", template!("rust/provider/lib.rs"))],
        (Language::Rust, Kind::Extension) => &[("src/lib.rs", template!("rust/extension/lib.rs"))],
        (Language::Js, Kind::Provider) => &[
            ("src/plugin.js", template!("js/provider/plugin.js")),
            ("src/rule.js", template!("js/provider/rule.js")),
            ("test/rule.test.js", template!("js/provider/rule.test.js")),
            ("wit/world.wit", template!("provider/world.wit")),
        ],
        (Language::Js, Kind::Extension) => &[
            ("src/plugin.js", template!("js/extension/plugin.js")),
            ("src/rule.js", template!("js/extension/rule.js")),
            ("test/rule.test.js", template!("js/extension/rule.test.js")),
            ("wit/world.wit", template!("extension/world.wit")),
        ],
        (Language::Python, Kind::Provider) => &[
            ("src/plugin.py", template!("python/provider/plugin.py")),
            ("src/rule.py", template!("python/provider/rule.py")),
            ("tests/test_rule.py", template!("python/provider/test_rule.py")),
            ("wit/world.wit", template!("provider/world.wit")),
        ],
        (Language::Python, Kind::Extension) => &[
            ("src/plugin.py", template!("python/extension/plugin.py")),
            ("src/rule.py", template!("python/extension/rule.py")),
            ("tests/test_rule.py", template!("python/extension/test_rule.py")),
            ("wit/world.wit", template!("extension/world.wit")),
        ],
        (Language::C, Kind::Provider) => &[
            ("src/plugin.c", template!("c/provider/plugin.c")),
            ("src/rule.c", template!("c/provider/rule.c")),
            ("src/rule.h", template!("c/provider/rule.h")),
            ("test/rule.c", template!("c/provider/test.c")),
            ("wit/world.wit", template!("provider/world.wit")),
        ],
        (Language::C, Kind::Extension) => &[
            ("src/plugin.c", template!("c/extension/plugin.c")),
            ("src/rule.c", template!("c/extension/rule.c")),
            ("src/rule.h", template!("c/extension/rule.h")),
            ("test/rule.c", template!("c/extension/test.c")),
            ("wit/world.wit", template!("extension/world.wit")),
        ],
    }
}

/// The files of a kind, whatever the language.
const fn of_kind(kind: Kind) -> &'static [File] {
    match kind {
        Kind::Provider => &[("gateway.toml", template!("provider/gateway.toml"))],
        Kind::Extension => &[
            ("gateway.toml", template!("extension/gateway.toml")),
            ("alice.json", template!("extension/alice.json")),
        ],
    }
}

/// The parts of a README that are the same in every language: what it is, how it is used, the rule's name.
const fn parts(kind: Kind) -> [&'static str; 3] {
    match kind {
        Kind::Provider => [
            template!("provider/about.md"),
            template!("provider/use.md"),
            "may_edit",
        ],
        Kind::Extension => [
            template!("extension/about.md"),
            template!("extension/use.md"),
            "lets_in",
        ],
    }
}

/// The files of a new project: a path in it and the text, each. `name` is one that [`config::read_name`](crate::config::read_name) gave.
pub(super) fn render(language: Language, kind: Kind, name: &str) -> Vec<(String, String)> {
    let [about, uses, rule] = parts(kind);
    let package = name::package(name, |package| is_dependency(language, package));
    let crate_name = package.replace('-', "_");
    let key = name::key(name);
    let fill = |template: &str| {
        template
            .replace("{{about}}", about.trim_end())
            .replace("{{use}}", uses.trim_end())
            .replace("{{rule}}", rule)
            .replace("{{name}}", name)
            .replace("{{key}}", &key)
            .replace("{{package}}", &package)
            .replace("{{crate}}", &crate_name)
    };
    let templates = of_language(language)
        .iter()
        .chain(of_kind(kind))
        .chain(sources(language, kind));
    let files = templates.map(|(path, template)| match *path {
        "Cargo.lock" => ((*path).to_owned(), sorted(&fill(template))),
        _ => ((*path).to_owned(), fill(template)),
    });
    let imports = Grant::ALL
        .iter()
        .filter_map(|grant| Some((grant.as_str(), grant.wit()?)));
    let interface = WIT.iter().copied().chain(imports);
    files
        .chain(interface.map(|(name, text)| (format!("{WIT_DIR}/{name}.wit"), text.to_owned())))
        .collect()
}

/// Whether the language's lock file has a package of this name.
fn is_dependency(language: Language, package: &str) -> bool {
    let mark = match language {
        Language::Rust => format!("name = \"{package}\"\n"),
        Language::Js => format!("\"node_modules/{package}\""),
        Language::Python | Language::C => return false,
    };
    of_language(language)
        .iter()
        .any(|(path, text)| path.contains("lock") && text.contains(&mark))
}

/// A `Cargo.lock` with its packages in the order of their names, as cargo has it: it would rewrite another.
fn sorted(lock: &str) -> String {
    const SEPARATOR: &str = "\n[[package]]\n";
    let mut parts = lock.split(SEPARATOR);
    let head = parts.next().unwrap_or_default();
    let mut packages: Vec<&str> = parts.collect();
    // The first line is the name. Packages of one name stay in the order of their versions.
    packages.sort_by_key(|package| package.lines().next());
    std::iter::once(head)
        .chain(packages)
        .collect::<Vec<_>>()
        .join(SEPARATOR)
}

#[cfg(test)]
mod tests;
