//! The settings: the providers whose groups count, the roles of groups, and the permissions of roles. Independent of
//! the gateway, so that it can be tested alone.
//!
//! | setting | meaning |
//! |---|---|
//! | `providers` | the upstream providers whose groups count |
//! | `claim` | where the groups are in the claims |
//! | `keep` | how long groups count after the sign-in that brought them |
//! | `group.<group>` | the roles of everyone in the group |
//! | `default` | the roles of everyone |
//! | `role.<role>` | what the role may do: `[service:]permission`, separated by commas |

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const UNKNOWN: &str = "there is no such setting; they are `providers`, `claim`, `keep`, `default`, and those \
                       that begin with `group.` or `role.`";

/// How long sessions last by default.
const KEEP: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The parsed settings.
#[derive(Debug)]
pub struct Settings {
    /// Upstream providers, by their names in the gateway's configuration.
    pub providers: Vec<String>,
    /// A claim's name or, if it begins with `/`, a JSON pointer (RFC 6901).
    pub claim: String,
    /// How long groups count after the sign-in.
    pub keep: Duration,
    /// The permissions of each role.
    roles: BTreeMap<String, Vec<Permission>>,
    groups: BTreeMap<String, Vec<String>>,
    default: Vec<String>,
}

/// One thing that a role may do.
#[derive(Debug)]
struct Permission {
    /// The service that it applies to; `None` means every service.
    service: Option<String>,
    name: String,
}

impl Settings {
    /// Parses the settings: names and values.
    ///
    /// # Errors
    /// A sentence for the operator that names the setting.
    pub fn read(settings: Vec<(String, String)>) -> Result<Self, String> {
        let mut read = Self {
            providers: Vec::new(),
            claim: "groups".to_owned(),
            keep: KEEP,
            roles: BTreeMap::new(),
            groups: BTreeMap::new(),
            default: Vec::new(),
        };
        for (name, value) in settings {
            read.one(&name, &value)
                .map_err(|mistake| format!("setting `{name}`: {mistake}"))?;
        }
        if read.providers.is_empty() {
            return Err(
                "the setting `providers` is missing: name the upstream providers whose groups count"
                    .to_owned(),
            );
        }
        let named = read
            .groups
            .iter()
            .map(|(group, roles)| (format!("group.{group}"), roles));
        for (setting, roles) in named.chain([("default".to_owned(), &read.default)]) {
            if let Some(role) = roles.iter().find(|role| !read.roles.contains_key(*role)) {
                return Err(format!(
                    "setting `{setting}`: there is no role `{role}`; define it by a setting `role.{role}`"
                ));
            }
        }
        Ok(read)
    }

    fn one(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name.split_once('.') {
            Some((_, "")) => return Err("nothing follows the dot".to_owned()),
            Some(("group", group)) => {
                self.groups.insert(group.to_owned(), words(value));
            }
            Some(("role", role)) => {
                let permissions = words(value)
                    .iter()
                    .map(|word| permission(word))
                    .collect::<Result<_, _>>()?;
                self.roles.insert(role.to_owned(), permissions);
            }
            Some(_) => return Err(UNKNOWN.to_owned()),
            None => match name {
                "providers" => self.providers = words(value),
                "default" => self.default = words(value),
                "claim" if value.is_empty() => return Err("name a claim".to_owned()),
                "claim" => self.claim = value.to_owned(),
                "keep" => {
                    self.keep = humantime::parse_duration(value)
                        .map_err(|error| format!("{error}; write \"12h\" or \"14d\""))?;
                }
                _ => return Err(UNKNOWN.to_owned()),
            },
        }
        Ok(())
    }

    /// The permissions in a service of a person in these groups.
    pub fn permissions(&self, service: &str, groups: &BTreeSet<String>) -> BTreeSet<&str> {
        let roles = groups.iter().filter_map(|group| self.groups.get(group)).flatten();
        roles
            .chain(&self.default)
            .filter_map(|role| self.roles.get(role))
            .flatten()
            .filter(|permission| permission.service.as_deref().is_none_or(|only| only == service))
            .map(|permission| permission.name.as_str())
            .collect()
    }
}

fn words(list: &str) -> Vec<String> {
    list.split([',', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn permission(word: &str) -> Result<Permission, String> {
    let (service, name) = word.split_once(':').unwrap_or(("*", word));
    let (service, name) = (service.trim(), name.trim());
    if service.is_empty() || name.is_empty() || name.contains('=') {
        return Err(format!(
            "`{word}` is not a permission: write `name` or `service:name`"
        ));
    }
    Ok(Permission {
        service: (service != "*").then(|| service.to_owned()),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Settings;

    fn settings(settings: &[(&str, &str)]) -> Result<Settings, String> {
        let settings = [("providers", "company")].iter().chain(settings);
        Settings::read(
            settings
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    fn may(settings: &Settings, service: &str, groups: &[&str]) -> Vec<String> {
        let groups = groups.iter().map(|group| group.to_string()).collect();
        settings
            .permissions(service, &groups)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn groups_have_roles_and_roles_have_permissions() {
        let settings = settings(&[
            ("role.reader", "read"),
            ("role.editor", "wiki:edit, *:urn:x:y"),
            ("group./wiki/editors", "editor, reader"),
            ("group.Staff", "reader"),
        ])
        .unwrap();
        assert_eq!(
            may(&settings, "wiki", &["/wiki/editors", "Staff"]),
            ["edit", "read", "urn:x:y"]
        );
        assert_eq!(may(&settings, "shop", &["/wiki/editors"]), ["read", "urn:x:y"]);
        // Groups are compared exactly. Groups without a setting have no roles.
        assert!(may(&settings, "wiki", &["staff", "/wiki", "editor", "reader", ""]).is_empty());
        assert!(may(&settings, "wiki", &[]).is_empty());
    }

    #[test]
    fn everybody_has_the_default_roles() {
        let settings = settings(&[("role.reader", "read"), ("default", "reader")]).unwrap();
        assert_eq!(may(&settings, "wiki", &[]), ["read"]);
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.claim, "groups");
        assert_eq!(settings.keep, Duration::from_secs(14 * 86_400));
    }

    #[test]
    fn says_what_is_wrong() {
        for (wrong, mistake) in [
            (("providers", " , "), "the setting `providers` is missing"),
            (
                ("group.staff", "reader"),
                "setting `group.staff`: there is no role `reader`",
            ),
            (
                ("default", "reader"),
                "setting `default`: there is no role `reader`",
            ),
            (("role.reader", "read=true"), "`read=true` is not a permission"),
            (("role.reader", "wiki:"), "`wiki:` is not a permission"),
            (("role.", "read"), "nothing follows the dot"),
            (("keep", "two weeks"), "setting `keep`: "),
            (("claim", ""), "name a claim"),
            (("roles.reader", "read"), "there is no such setting"),
            (("groups", "x"), "there is no such setting"),
        ] {
            let error = settings(&[wrong]).unwrap_err();
            assert!(error.contains(mistake), "{wrong:?}: {error}");
        }
    }
}
