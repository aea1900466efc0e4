//! Names of interfaces, `package/interface@version`, and which versions are compatible.

/// The prefix of our package in the name of an import or export.
pub const PACKAGE: &str = "auth-gateway:plugin/";

/// The version of our package that the gateway supports.
pub const VERSION: &str = "1.0.0";

/// Splits a name into interface and version. The version is empty if the name has none.
pub fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether two versions are compatible by the linker's rule: the first number that is not 0 must be the same. A
/// pre-release is compatible only with itself.
pub fn fits(one: &str, other: &str) -> bool {
    track(one) == track(other)
}

/// The part of a version that must be the same: `1` of 1.2.3, `0.1` of 0.1.2.
fn track(version: &str) -> &str {
    let version = version.split('+').next().unwrap_or_default();
    if version.contains('-') {
        return version;
    }
    let mut dots = version.match_indices('.').map(|(at, _)| at);
    let (first, second) = (dots.next(), dots.next());
    let end = match version {
        _ if version.starts_with("0.0.") => None,
        _ if version.starts_with("0.") => second,
        _ => first,
    };
    end.and_then(|end| version.get(..end)).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::{fits, split};

    #[test]
    fn versions_fit_as_in_the_linker() {
        for (one, other) in [
            ("1.0.0", "1.0.0"),
            ("1.0.0", "1.2.3"),
            ("1.0.0+build-1", "1.0.1"),
            ("0.1.0", "0.1.7"),
            ("0.2.0-draft", "0.2.0-draft"),
        ] {
            assert!(fits(one, other) && fits(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("1.0.0", "2.0.0"),
            ("1.0.0", "10.0.0"),
            ("1.0.0", "0.1.0"),
            ("0.1.0", "0.10.0"),
            ("0.0.1", "0.0.2"),
            ("1.0.0", "1.0.0-rc.1"),
            ("0.2.0-draft", "0.2.0-draft2"),
            ("0.2.0-draft", "0.2.0"),
            ("1.0.0", ""),
        ] {
            assert!(!fits(one, other) && !fits(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_name_may_have_no_version() {
        assert_eq!(split("a:b/c@1.0.0"), ("a:b/c", "1.0.0"));
        assert_eq!(split("a:b/c"), ("a:b/c", ""));
    }
}
