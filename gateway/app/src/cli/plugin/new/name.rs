//! Adapts a plugin's name to the rules of a language.

/// Returns the name of a cargo or npm package: words in lower case with `-` between them. A name that begins with a
/// digit, which cargo refuses, or that is `taken` by a dependency of the project, gets the prefix `plugin-`. A keyword
/// is a valid name of a package.
pub(super) fn package(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let words: Vec<String> = name
        .split(['_', '.', '-'])
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let package = words.join("-");
    if package.is_empty() {
        return "plugin".to_owned();
    }
    if package.starts_with(|c: char| c.is_ascii_digit()) || taken(&package) {
        return format!("plugin-{package}");
    }
    package
}

/// Returns the name as a key of a TOML table, where a dot would end it.
pub(super) fn key(name: &str) -> String {
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{key, package};
    use crate::config::read_name as read;

    #[test]
    fn invalid_names_are_rejected() {
        let long = "x".repeat(65);
        for bad in [
            "", ".", "..", "../x", "a/b", "/etc", "-x", "--help", ".x", "a b", "a\n", "a\0", "ä", "a'b",
            "a\"b", "a`b", "$(x)", "a;b", "a%b", "{{name}}", "a\\b", "~", &long,
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "_", "1", "a.b", "A-b_c.9", "match", "class", &long[1..]] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn package_names_are_valid_for_cargo_and_npm() {
        let taken = |name: &str| name == "anyhow";
        for (name, expected) in [
            ("roles", "roles"),
            ("email-domains", "email-domains"),
            ("match", "match"),
            ("My_Plugin.v2", "my-plugin-v2"),
            ("a--b__", "a-b"),
            ("2fa", "plugin-2fa"),
            ("_", "plugin"),
            ("anyhow", "plugin-anyhow"),
            ("Any_how", "any-how"),
        ] {
            assert_eq!(package(name, taken), expected);
        }
    }

    #[test]
    fn a_key_with_a_dot_is_quoted() {
        assert_eq!(key("a-b_1"), "a-b_1");
        assert_eq!(key("a.b"), "\"a.b\"");
    }
}
