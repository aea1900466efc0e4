//! The message of a new user. Independent of the gateway, so that it can be tested alone.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

/// A message in the shape that <https://www.standardwebhooks.com> recommends (`type`, `timestamp`, `data`), and the id,
/// which is also in the header `webhook-id`.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    /// The same if an event is delivered again.
    pub id: &'a str,
    /// The type of the event.
    pub r#type: &'static str,
    /// The time in UTC (RFC 3339).
    pub timestamp: String,
    /// The user and the identity.
    pub data: Data<'a>,
}

/// The new user, and the identity that they signed in with.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    pub user: Person<'a>,
    pub identity: Identity<'a>,
}

/// A user, as the webhook sees them.
#[derive(Debug, Serialize)]
pub struct Person<'a> {
    /// The gateway's id.
    pub id: &'a str,
    /// The display name; may be empty.
    pub name: &'a str,
    /// A verified address, or null.
    pub email: Option<&'a str>,
    /// Whether the operator trusts the provider that verified it.
    pub email_trusted: bool,
    /// A URL, or null.
    pub avatar_url: Option<&'a str>,
    /// The attributes that earlier hooks have set.
    pub attributes: BTreeMap<&'a str, &'a str>,
}

/// The user's identity at an upstream provider.
#[derive(Debug, Serialize)]
pub struct Identity<'a> {
    pub provider: &'a str,
    pub issuer: &'a str,
    pub subject: &'a str,
}

impl Message<'_> {
    /// # Errors
    /// Never in practice, because this is plain JSON.
    pub fn body(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}

/// A time as in RFC 3339. `at` is in seconds since the Unix epoch.
///
/// # Errors
/// If it is after the year 9999.
pub fn timestamp(at: u64) -> Result<String, String> {
    /// The last second that has four digits for its year.
    const LAST: u64 = 253_402_300_799;
    if at > LAST {
        return Err(format!("{at} is not the time of an event"));
    }
    let moment = UNIX_EPOCH + Duration::from_secs(at);
    Ok(humantime::format_rfc3339_seconds(moment).to_string())
}

#[cfg(test)]
mod tests {
    use super::{Data, Identity, Message, Person, timestamp};

    #[test]
    fn reads_as_the_readme_shows_it() {
        let message = Message {
            id: "e1",
            r#type: "user.created",
            timestamp: timestamp(1_700_000_000).unwrap(),
            data: Data {
                user: Person {
                    id: "17",
                    name: "Ann \"A\"",
                    email: Some("ann@example.org"),
                    email_trusted: true,
                    avatar_url: None,
                    attributes: [("team", "blue")].into(),
                },
                identity: Identity {
                    provider: "google",
                    issuer: "https://accounts.google.com",
                    subject: "1",
                },
            },
        };
        let expected = concat!(
            r#"{"id":"e1","type":"user.created","timestamp":"2023-11-14T22:13:20Z","data":{"#,
            r#""user":{"id":"17","name":"Ann \"A\"","email":"ann@example.org","email_trusted":true,"#,
            r#""avatar_url":null,"attributes":{"team":"blue"}},"#,
            r#""identity":{"provider":"google","issuer":"https://accounts.google.com","subject":"1"}}}"#,
        );
        assert_eq!(message.body().as_deref(), Ok(expected));
    }

    #[test]
    fn years_have_four_digits() {
        assert_eq!(timestamp(0).as_deref(), Ok("1970-01-01T00:00:00Z"));
        assert_eq!(timestamp(253_402_300_799).as_deref(), Ok("9999-12-31T23:59:59Z"));
        assert!(timestamp(253_402_300_800).is_err());
        assert!(timestamp(u64::MAX).is_err());
    }
}
