//! The files of a new project, from `templates/plugin`.
//!
//! | placeholder | value |
//! |---|---|
//! | `{{name}}` | the plugin's name |
//! | `{{key}}` | the name as a key of a TOML table |
//! | `{{package}}` | the name as that of a cargo or npm package |
//! | `{{crate}}` | the crate of that cargo package, after which cargo names its output |
//! | `{{about}}`, `{{use}}` | the parts of a README that are the same in every language |
//! | `{{rule}}` | the name of the function that the author should change |

use gateway_sandbox::Grant;

use super::{Kind, Language, name};

/// The directory of the gateway's interface in a project.
pub(super) const WIT_DIR: &str = "wit/deps/auth-gateway";

macro_rules! template {
    ($path:expr) => {
        include_str!(concat!("../../../../templates/plugin/", $path))
    };
}

macro_rules! wit {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../../wit/", $name, ".wit")))),*]
    };
}

/// A path in the project, and a template or text.
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

/// The sources of a language, of which each kind has its own.
macro_rules! of_each_kind {
    ($kind:expr, $($path:literal = $before:literal / $after:literal),*) => {
        match $kind {
            Kind::Provider => &[$(($path, template!(concat!($before, "provider/", $after)))),*],
            Kind::Extension => &[$(($path, template!(concat!($before, "extension/", $after)))),*],
        }
    };
}

const fn sources(language: Language, kind: Kind) -> &'static [File] {
    match language {
        Language::Rust => of_each_kind!(kind, "src/lib.rs" = "rust/" / "lib.rs"),
        Language::Js => of_each_kind!(
            kind,
            "src/plugin.js" = "js/" / "plugin.js",
            "src/rule.js" = "js/" / "rule.js",
            "test/rule.test.js" = "js/" / "rule.test.js",
            "wit/world.wit" = "" / "world.wit"
        ),
        Language::Python => of_each_kind!(
            kind,
            "src/plugin.py" = "python/" / "plugin.py",
            "src/rule.py" = "python/" / "rule.py",
            "tests/test_rule.py" = "python/" / "test_rule.py",
            "wit/world.wit" = "" / "world.wit"
        ),
        Language::C => of_each_kind!(
            kind,
            "src/plugin.c" = "c/" / "plugin.c",
            "src/rule.c" = "c/" / "rule.c",
            "src/rule.h" = "c/" / "rule.h",
            "test/rule.c" = "c/" / "test.c",
            "wit/world.wit" = "" / "world.wit"
        ),
    }
}

const fn of_kind(kind: Kind) -> &'static [File] {
    match kind {
        Kind::Provider => &[("gateway.toml", template!("provider/gateway.toml"))],
        Kind::Extension => &[
            ("gateway.toml", template!("extension/gateway.toml")),
            ("alice.json", template!("extension/alice.json")),
        ],
    }
}

/// The values of `{{about}}`, `{{use}}` and `{{rule}}`.
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

/// Returns the paths and texts of a new project's files. `name` must be valid for
/// [`config::read_name`](crate::config::read_name).
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

/// Whether the language's lock file has a package with this name.
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

/// Sorts the packages of a `Cargo.lock` by name, as cargo does. Otherwise, cargo would rewrite the file.
fn sorted(lock: &str) -> String {
    const SEPARATOR: &str = "\n[[package]]\n";
    let mut parts = lock.split(SEPARATOR);
    let head = parts.next().unwrap_or_default();
    let mut packages: Vec<&str> = parts.collect();
    // The first line is the name. The stable sort keeps packages with the same name in the order of their versions.
    packages.sort_by_key(|package| package.lines().next());
    std::iter::once(head)
        .chain(packages)
        .collect::<Vec<_>>()
        .join(SEPARATOR)
}

#[cfg(test)]
mod tests;
