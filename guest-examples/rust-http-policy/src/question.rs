//! The question for the policy service, as in Open Policy Agent's data API
//! (<https://www.openpolicyagent.org/docs/rest-api>, "Get a Document (with Input)"). Independent of the gateway, so
//! that it can be tested alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A question: the body of a request.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    /// The policy's `input`.
    pub input: Input<'a>,
}

/// The facts for a policy's decision.
#[derive(Debug, Serialize)]
pub struct Input<'a> {
    /// The service's name in the gateway's configuration.
    pub service: &'a str,
    /// The user in question.
    pub user: Person<'a>,
}

/// A user, as the policy sees them.
#[derive(Debug, Serialize)]
pub struct Person<'a> {
    /// The gateway's id.
    pub id: &'a str,
    /// The username, or null.
    pub username: Option<&'a str>,
    /// The display name.
    pub name: &'a str,
    /// A verified address, or null.
    pub email: Option<&'a str>,
    /// Whether the operator trusts the provider that verified it.
    pub email_trusted: bool,
    /// The attributes that hooks have set.
    pub attributes: BTreeMap<&'a str, &'a str>,
}

impl Question<'_> {
    /// # Errors
    /// Never in practice, because this is plain JSON.
    pub fn body(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}

/// The key of a cached answer. It contains everything that the answer may depend on: after a change of the user's
/// address or attributes, or of the policy's URL, the question is a different one.
pub fn key(url: &str, body: &str) -> String {
    // A URL never contains a line feed, so no two pairs give the same text.
    let digest = Sha256::digest(format!("{url}\n{body}"));
    let mut key = "answer/".to_owned();
    for byte in digest {
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{Input, Person, Question, key};

    fn question<'a>(service: &'a str, attributes: &[(&'a str, &'a str)]) -> String {
        let user = Person {
            id: "17",
            username: None,
            name: "Ann \"A\"",
            email: Some("ann@example.org"),
            email_trusted: true,
            attributes: attributes.iter().copied().collect(),
        };
        Question {
            input: Input { service, user },
        }
        .body()
        .unwrap()
    }

    #[test]
    fn reads_as_the_readme_shows_it() {
        assert_eq!(
            question("wiki", &[("team", "blue")]),
            r#"{"input":{"service":"wiki","user":{"id":"17","username":null,"name":"Ann \"A\"","#.to_owned()
                + r#""email":"ann@example.org","email_trusted":true,"attributes":{"team":"blue"}}}}"#
        );
    }

    #[test]
    fn every_input_changes_the_key() {
        let (first, second) = ("https://policy.example.org/a", "https://policy.example.org/b");
        let keys = [
            key(first, &question("wiki", &[])),
            key(second, &question("wiki", &[])),
            key(first, &question("shop", &[])),
            key(first, &question("wiki", &[("team", "blue")])),
            key(first, &question("wiki", &[("team", "red")])),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), "answer/".len() + 64);
            assert!(!keys[..at].contains(one), "{at}");
        }
        // The order of the attributes does not matter.
        assert_eq!(
            question("wiki", &[("a", "1"), ("b", "2")]),
            question("wiki", &[("b", "2"), ("a", "1")])
        );
    }
}
