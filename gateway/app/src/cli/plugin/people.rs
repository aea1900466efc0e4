//! Users and claims in files, in the shapes of `wit/types.wit`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use gateway_model::{Claims, Email, Identity, Timestamp, User, UserId, UserStatus, Username};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::small_file;

/// In bytes.
const MAX_FILE: u64 = 16 << 20;

/// `types.user`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    id: String,
    name: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_trusted: bool,
    #[serde(default)]
    avatar_url: Option<String>,
    #[serde(default)]
    identities: Vec<Account>,
    #[serde(default)]
    joined: u64,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// `types.identity`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    provider: String,
    issuer: String,
    subject: String,
}

/// Reads a list of users, no two of which have the same id.
pub(super) fn users(path: &Path) -> anyhow::Result<Vec<User>> {
    let people: Vec<Person> = read(path, "a list of users, [{\"id\": …, \"name\": …}, …]")?;
    let users: Vec<User> = people
        .into_iter()
        .map(|person| user_of(person).with_context(|| format!("{}", path.display())))
        .collect::<anyhow::Result<_>>()?;
    let mut ids = BTreeSet::new();
    if let Some(twice) = users.iter().find(|user| !ids.insert(user.id.as_str())) {
        bail!(
            "{}: two users have the id {:?}",
            path.display(),
            twice.id.as_str()
        );
    }
    Ok(users)
}

pub(super) fn user(path: &Path) -> anyhow::Result<User> {
    let person = read(path, "a user, {\"id\": …, \"name\": …}")?;
    user_of(person).with_context(|| format!("{}", path.display()))
}

pub(super) fn claims(path: &Path) -> anyhow::Result<Claims> {
    read(path, "a JSON object")
}

fn user_of(person: Person) -> anyhow::Result<User> {
    let (id, trusted) = (person.id, person.email_trusted);
    if id.is_empty() {
        bail!("a user's id is empty");
    }
    if trusted && person.email.is_none() {
        bail!("the user {id:?} has email_trusted, but no email");
    }
    let username = person.username.map(|username| Username::parse(&username));
    let username = username.transpose().with_context(|| format!("the user {id:?}"))?;
    let identities = person.identities.into_iter().map(|account| Identity {
        provider: account.provider,
        issuer: account.issuer,
        subject: account.subject,
    });
    let mut identities: Vec<Identity> = identities.collect();
    // Every user of a gateway has an identity.
    if identities.is_empty() {
        identities.push(Identity {
            provider: "dev".to_owned(),
            issuer: "https://dev.invalid".to_owned(),
            subject: id.clone(),
        });
    }
    Ok(User {
        id: UserId::from(id),
        username,
        name: person.name,
        email: person.email.map(|address| Email { address, trusted }),
        avatar_url: person.avatar_url,
        identities,
        joined: Timestamp(person.joined),
        status: UserStatus::Active,
        attributes: person.attributes,
    })
}

/// Reads a JSON file. `expected` describes its contents.
fn read<T: DeserializeOwned>(path: &Path, expected: &str) -> anyhow::Result<T> {
    let shown = path.display();
    let (bytes, _) = small_file::read(path, MAX_FILE).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{shown} should be {expected}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{claims, user, users};

    fn error(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        fs::write(&path, text).unwrap();
        format!("{:#}", users(&path).unwrap_err())
    }

    #[test]
    fn users_have_the_shape_of_the_interface() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        let text = r#"[
            {"id": "1", "name": "Ann"},
            {"id": "2", "name": "", "username": "bob", "email": "b@example.org", "email_trusted": true,
             "avatar_url": "https://example.org/b.png", "joined": 7, "attributes": {"team": "blue"},
             "identities": [{"provider": "google", "issuer": "https://accounts.google.com", "subject": "9"}]}]"#;
        fs::write(&path, text).unwrap();
        let users = users(&path).unwrap();
        assert_eq!(users[0].identities[0].subject, "1", "nobody has no identity");
        assert_eq!(users[1].identities[0].provider, "google");
        assert_eq!(users[1].attributes["team"], "blue");
        assert!(users[1].email.as_ref().is_some_and(|email| email.trusted));
        assert_eq!(users[1].joined.0, 7);
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        for (text, says) in [
            ("", "EOF"),
            ("nonsense", "line 1"),
            ("{}", "should be a list of users"),
            (
                "[\n{\"id\": \"1\", \"name\": \"A\",\n\"e-mail\": \"x\"}]",
                "unknown field `e-mail`",
            ),
            (
                "[\n{\"id\": \"1\", \"name\": \"A\",\n\"e-mail\": \"x\"}]",
                "line 3",
            ),
            ("[{\"id\": \"1\"}]", "missing field `name`"),
            ("[{\"id\": \"\", \"name\": \"A\"}]", "id is empty"),
            ("[{\"id\": 1, \"name\": \"A\"}]", "expected a string"),
            (
                "[{\"id\": \"1\", \"name\": \"A\", \"username\": \"a b\"}]",
                "letters a to z",
            ),
            (
                "[{\"id\": \"1\", \"name\": \"A\", \"email_trusted\": true}]",
                "no email",
            ),
            (
                "[{\"id\": \"1\", \"name\": \"A\"}, {\"id\": \"1\", \"name\": \"B\"}]",
                "two users",
            ),
            (&"[".repeat(100_000), "expected a string"),
        ] {
            let error = error(text);
            assert!(error.contains(says), "{error} does not say {says:?}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let (cwd, fifo) = (rustix::fs::CWD, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(cwd, &pipe, fifo, 0o600.into(), 0).unwrap();
        for path in [pipe, dir.path().to_owned(), dir.path().join("missing")] {
            assert!(user(&path).is_err(), "{path:?}");
            assert!(claims(&path).is_err(), "{path:?}");
        }
    }
}
