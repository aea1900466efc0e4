//! The roles of users, and the permissions of roles. Independent of the gateway, so that it can be tested alone.
//!
//! | setting | meaning |
//! |---|---|
//! | `role.<role>` | what the role may do: a list of permissions ([`grammar`]) |
//! | `default` | the roles of everyone |
//! | `user-id.<id>` | the roles of the user with this id |
//! | `username.<name>` | the roles of the user with this username, ignoring case |
//! | `email.<address>` | the roles of the user with this address, ignoring case |
//! | `attribute.<name>=<value>` | the roles of all users with this attribute |
//! | `list-roles-as` | the name of a permission that lists the user's roles |
//!
//! Roles are in the order id, username, email, attributes, default. If two roles have the same permission, the first
//! one counts, so a role of one person overrides the default.

use std::collections::BTreeMap;

use crate::grammar::{self, Entry, Value};

/// The facts about a user.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// The gateway's id.
    pub id: String,
    /// The username.
    pub username: Option<String>,
    /// An address verified by an upstream provider that the operator trusts with addresses.
    pub email: Option<String>,
    /// The attributes that hooks have set: names and values.
    pub attributes: Vec<(String, String)>,
}

/// The parsed settings.
#[derive(Debug, Default)]
pub struct Policy {
    roles: BTreeMap<String, Vec<Entry>>,
    /// Roles by holder. Usernames and addresses are in lower case.
    holders: BTreeMap<Holder, Vec<String>>,
    list_roles_as: Option<String>,
}

/// A holder of roles.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Id(String),
    Username(String),
    Email(String),
    Attribute(String, String),
    Everybody,
}

impl Policy {
    /// Parses the settings: names and values. Checks all of them, so that a mistake shows at the first call, not when
    /// the person whom it concerns signs in.
    ///
    /// # Errors
    /// A sentence for the operator that names the setting.
    pub fn read(settings: Vec<(String, String)>) -> Result<Self, String> {
        let mut policy = Self::default();
        for (name, value) in settings {
            policy
                .read_one(&name, &value)
                .map_err(|mistake| format!("setting `{name}`: {mistake}"))?;
        }
        for (holder, roles) in &policy.holders {
            if let Some(role) = roles.iter().find(|role| !policy.roles.contains_key(*role)) {
                return Err(format!(
                    "setting `{}`: there is no role `{role}`; define it by a setting `role.{role}`",
                    holder.setting()
                ));
            }
        }
        Ok(policy)
    }

    fn read_one(&mut self, name: &str, value: &str) -> Result<(), String> {
        let holder = match name.split_once('.') {
            None => match name {
                "default" => Holder::Everybody,
                "list-roles-as" => {
                    self.list_roles_as = Some(value.trim().to_owned()).filter(|name| !name.is_empty());
                    return Ok(());
                }
                _ => return Err(UNKNOWN.to_owned()),
            },
            Some((_, "")) => return Err("nothing follows the dot".to_owned()),
            Some(("role", role)) => {
                self.roles.insert(role.to_owned(), grammar::entries(value)?);
                return Ok(());
            }
            Some(("user-id", id)) => Holder::Id(id.to_owned()),
            Some(("username", username)) => Holder::Username(username.to_lowercase()),
            Some(("email", address)) if address.contains('@') => Holder::Email(address.to_lowercase()),
            Some(("email", _)) => return Err("this is not an email address".to_owned()),
            Some(("attribute", attribute)) => match attribute.split_once('=') {
                Some((name, value)) => Holder::Attribute(name.to_owned(), value.to_owned()),
                None => return Err("write `attribute.<name>=<value>`".to_owned()),
            },
            Some(_) => return Err(UNKNOWN.to_owned()),
        };
        let roles = grammar::names(value).into_iter().map(str::to_owned);
        // Two settings may be for one holder, for example with two spellings of an address. The person has the roles of
        // both.
        self.holders.entry(holder).or_default().extend(roles);
        Ok(())
    }

    /// The roles of a person, without duplicates, in order of precedence.
    pub fn roles(&self, person: &Person) -> Vec<&str> {
        let mut holders = vec![Holder::Id(person.id.clone())];
        holders.extend(
            person
                .username
                .as_ref()
                .map(|name| Holder::Username(name.to_lowercase())),
        );
        holders.extend(
            person
                .email
                .as_ref()
                .map(|address| Holder::Email(address.to_lowercase())),
        );
        holders.extend(
            person
                .attributes
                .iter()
                .cloned()
                .map(|(name, value)| Holder::Attribute(name, value)),
        );
        holders.push(Holder::Everybody);

        let mut roles = Vec::new();
        for role in holders
            .iter()
            .filter_map(|holder| self.holders.get(holder))
            .flatten()
        {
            if !roles.contains(&role.as_str()) {
                roles.push(role.as_str());
            }
        }
        roles
    }

    /// The person's permissions in a service, sorted by name.
    pub fn permissions(&self, service: &str, person: &Person) -> BTreeMap<String, Value> {
        let roles = self.roles(person);
        let mut permissions = BTreeMap::new();
        for entry in roles.iter().filter_map(|role| self.roles.get(*role)).flatten() {
            if entry.service.as_deref().is_none_or(|only| only == service) {
                permissions
                    .entry(entry.name.clone())
                    .or_insert_with(|| entry.value.clone());
            }
        }
        if let Some(name) = &self.list_roles_as {
            permissions.insert(name.clone(), Value::Json(json_list(&roles)));
        }
        permissions
    }
}

const UNKNOWN: &str = "there is no such setting; they are `default`, `list-roles-as`, and those that begin with `role.`, `user-id.`, `username.`, `email.` or `attribute.`";

impl Holder {
    /// The name of the setting for this holder.
    fn setting(&self) -> String {
        match self {
            Self::Id(id) => format!("user-id.{id}"),
            Self::Username(name) => format!("username.{name}"),
            Self::Email(address) => format!("email.{address}"),
            Self::Attribute(name, value) => format!("attribute.{name}={value}"),
            Self::Everybody => "default".to_owned(),
        }
    }
}

/// A JSON list of strings (RFC 8259 section 7 has the escapes).
fn json_list(texts: &[&str]) -> String {
    let quoted: Vec<_> = texts
        .iter()
        .map(|text| {
            let escaped: String = text
                .chars()
                .map(|character| match character {
                    '"' | '\\' => format!("\\{character}"),
                    '\0'..='\u{1f}' => format!("\\u{:04x}", u32::from(character)),
                    _ => character.to_string(),
                })
                .collect();
            format!("\"{escaped}\"")
        })
        .collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::{Person, Policy};
    use crate::grammar::Value;

    fn policy(settings: &[(&str, &str)]) -> Result<Policy, String> {
        Policy::read(
            settings
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    fn neo() -> Person {
        Person {
            id: "00000000000000000000000000000001".into(),
            username: Some("Neo".into()),
            email: Some("Neo@Example.org".into()),
            attributes: vec![("team".into(), "red".into())],
        }
    }

    #[test]
    fn roles_come_from_all_facts_about_a_person() {
        let policy = policy(&[
            ("role.a", ""),
            ("role.b", ""),
            ("role.c", ""),
            ("role.d", ""),
            ("role.e", ""),
            ("default", "e, a"),
            ("attribute.team=red", "d"),
            ("email.neo@EXAMPLE.org", "c"),
            ("username.neo", "b"),
            ("user-id.00000000000000000000000000000001", "a"),
        ])
        .unwrap();
        assert_eq!(policy.roles(&neo()), ["a", "b", "c", "d", "e"]);
        assert_eq!(policy.roles(&Person::default()), ["e", "a"]);
    }

    #[test]
    fn similar_holders_do_not_share_roles() {
        let policy = policy(&[
            ("role.admin", "all"),
            ("user-id.00000000000000000000000000000001", "admin"),
            ("username.root", "admin"),
            ("email.root@example.org", "admin"),
            ("attribute.team=red", "admin"),
        ])
        .unwrap();
        let mallory = Person {
            id: "9".into(),
            ..Person::default()
        };
        for imposter in [
            // For example a username that looks like an id, or an address that looks like a username.
            Person {
                username: Some("00000000000000000000000000000001".into()),
                ..mallory.clone()
            },
            Person {
                email: Some("root".into()),
                ..mallory.clone()
            },
            Person {
                id: "root".into(),
                ..mallory.clone()
            },
            Person {
                email: Some("root@example.org.evil.example".into()),
                ..mallory.clone()
            },
            Person {
                attributes: vec![("team=red".into(), String::new())],
                ..mallory.clone()
            },
            Person {
                attributes: vec![("team".into(), "red=".into())],
                ..mallory.clone()
            },
        ] {
            assert_eq!(policy.roles(&imposter), Vec::<&str>::new(), "{imposter:?}");
        }
    }

    #[test]
    fn permissions_hold_in_their_service_and_the_first_role_decides() {
        let policy = policy(&[
            ("role.member", "read, wiki:edit=false, quota=1"),
            ("role.editor", "wiki:edit, quota=5"),
            ("default", "member"),
            ("username.neo", "editor"),
            ("list-roles-as", "roles"),
        ])
        .unwrap();
        let permissions = |service, person: &Person| {
            policy
                .permissions(service, person)
                .into_iter()
                .collect::<Vec<_>>()
        };
        let roles = |list: &str| ("roles".to_owned(), Value::Json(list.to_owned()));
        assert_eq!(
            permissions("wiki", &neo()),
            [
                ("edit".into(), Value::Boolean(true)),
                ("quota".into(), Value::Integer(5)),
                ("read".into(), Value::Boolean(true)),
                roles(r#"["editor","member"]"#),
            ]
        );
        assert_eq!(
            permissions("shop", &Person::default()),
            [
                ("quota".into(), Value::Integer(1)),
                ("read".into(), Value::Boolean(true)),
                roles(r#"["member"]"#),
            ]
        );
    }

    #[test]
    fn nothing_set_means_nothing_allowed() {
        let policy = policy(&[]).unwrap();
        assert!(policy.permissions("wiki", &neo()).is_empty());
    }

    #[test]
    fn role_names_are_escaped() {
        let policy = policy(&[("role.a\"\\\n", ""), ("default", "a\"\\"), ("role.a\"\\", "")]).unwrap();
        assert_eq!(super::json_list(&policy.roles(&neo())), r#"["a\"\\"]"#);
        assert_eq!(super::json_list(&["\n", "é"]), "[\"\\u000a\",\"é\"]");
    }

    #[test]
    fn says_which_setting_is_wrong() {
        for (settings, mistake) in [
            (
                &[("roles.editor", "edit")][..],
                "setting `roles.editor`: there is no such setting",
            ),
            (
                &[("fallback", "x")],
                "setting `fallback`: there is no such setting",
            ),
            (&[("role.", "edit")], "setting `role.`: nothing follows the dot"),
            (
                &[("role.editor", "edit=[")],
                "setting `role.editor`: a bracket or brace is not closed",
            ),
            (
                &[("default", "staff")],
                "setting `default`: there is no role `staff`",
            ),
            (
                &[("username.neo", "staff")],
                "setting `username.neo`: there is no role `staff`",
            ),
            (&[("attribute.team", "x")], "write `attribute.<name>=<value>`"),
            (
                &[("email.neo", "x")],
                "setting `email.neo`: this is not an email address",
            ),
        ] {
            let error = policy(settings).unwrap_err();
            assert!(error.contains(mistake), "{error}");
        }
    }
}
