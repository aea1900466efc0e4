//! The places of members in a userinfo answer, for providers that use other names than OpenID Connect.
//!
//! | written | means |
//! |---|---|
//! | `id`, `data.user.id`, `data.0.id` | a member, by the names and positions on the path to it |
//! | `/data/0/id` | the same as a JSON pointer (RFC 6901) |
//! | `global_name \| username` | the first one that is not empty |
//! | `https://cdn.example.org/{id}/{avatar}.png` | a template with percent-encoded members; absent if one of them is |

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::json::kind;
use crate::text::MAX_SUBJECT;

/// The most alternatives, steps and template parts of one place.
const MAX_PARTS: usize = 16;
/// The places of the profile's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The user's permanent id: a string or a whole number.
    pub subject: Member,
    /// The email address.
    pub email: Option<Member>,
    /// Whether the provider has verified the address.
    pub email_verified: Option<Member>,
    /// The display name.
    pub name: Option<Member>,
    /// The URL of a picture.
    pub picture: Option<Member>,
}

/// The place of a member.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    written: String,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, PartialEq, Eq)]
enum Alternative {
    Path(Vec<String>),
    Template(Vec<Part>),
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<String>),
}

/// The place of a member cannot be parsed. The text says what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the place of a member, as in id, data.user.id, /data/0/id or global_name | username")]
pub struct NotAPlace;

impl FromStr for Member {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let alternatives: Option<Vec<Alternative>> = text
            .split('|')
            .map(|alternative| match alternative.trim() {
                text if text.contains(['{', '}']) => template(text).map(Alternative::Template),
                text => path(text).map(Alternative::Path),
            })
            .collect();
        let alternatives = alternatives
            .filter(|alternatives| alternatives.len() <= MAX_PARTS)
            .ok_or(NotAPlace)?;
        Ok(Self {
            written: text.to_owned(),
            alternatives,
        })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({:?})", self.written)
    }
}

fn path(text: &str) -> Option<Vec<String>> {
    let steps: Vec<String> = match text.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(unescaped).collect::<Option<_>>()?,
        None => text.split('.').map(str::to_owned).collect(),
    };
    let good = steps.len() <= MAX_PARTS && steps.iter().all(|step| !step.is_empty());
    good.then_some(steps)
}

/// A step of a JSON pointer (RFC 6901 section 3): `~0` is `~`, `~1` is `/`, and any other `~` is an error.
fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

fn template(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}')?;
        if before.contains('}') {
            return None;
        }
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Path(path(inside)?));
        rest = after;
    }
    if rest.contains('}') || parts.len() > 2 * MAX_PARTS {
        return None;
    }
    parts.push(Part::Text(rest.to_owned()));
    Some(parts)
}

fn at<'v>(root: &'v Map<String, Value>, steps: &[String]) -> Option<&'v Value> {
    let (first, rest) = steps.split_first()?;
    rest.iter().try_fold(root.get(first)?, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A string that is not blank, or a whole number as a string.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

impl Member {
    /// The first alternative that is present and not blank, as a string.
    #[must_use]
    pub fn text(&self, root: &Map<String, Value>) -> Option<String> {
        self.alternatives
            .iter()
            .find_map(|alternative| match alternative {
                Alternative::Path(steps) => as_text(at(root, steps)?),
                Alternative::Template(parts) => parts.iter().try_fold(String::new(), |mut text, part| {
                    match part {
                        Part::Text(part) => text.push_str(part),
                        Part::Path(steps) => {
                            let value = as_text(at(root, steps)?)?;
                            let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
                            text.push_str(&encoded.replace('+', "%20"));
                        }
                    }
                    Some(text)
                }),
            })
    }

    /// The first alternative that is present, as JSON. Templates are skipped.
    #[must_use]
    pub fn value<'v>(&self, root: &'v Map<String, Value>) -> Option<&'v Value> {
        self.alternatives
            .iter()
            .find_map(|alternative| match alternative {
                Alternative::Path(steps) => at(root, steps),
                Alternative::Template(_) => None,
            })
    }

    /// Whether it is a single path: neither a choice nor a template.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.alternatives.as_slice(), [Alternative::Path(_)])
    }
}

impl Mapping {
    /// The subject. A number and a string with the same digits are one subject: providers write both.
    pub(crate) fn subject(&self, claims: &Map<String, Value>) -> Result<String, String> {
        let place = &self.subject;
        let value = place
            .value(claims)
            .ok_or_else(|| format!("the answer has no member {place}, the subject"))?;
        let right = format!("the member {place} must be a string or a whole number, but is");
        let subject = match value {
            // Not trimmed: two users could become one.
            Value::String(text) if text.trim().is_empty() => return Err(format!("{right} an empty string")),
            Value::String(text) => text.clone(),
            Value::Number(_) => as_text(value).ok_or_else(|| {
                format!("{right} a number that is not whole or has more than 64 bits; if it is an id, have the provider send it as a string")
            })?,
            _ => return Err(format!("{right} {}", kind(value))),
        };
        if subject.len() > MAX_SUBJECT {
            let length = subject.len();
            return Err(format!(
                "the member {place} has {length} bytes, and a subject has at most {MAX_SUBJECT}"
            ));
        }
        Ok(subject)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Mapping, Member};

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else {
            panic!("{value}")
        };
        map
    }

    #[test]
    fn p13_members_are_found_by_path_pointer_choice_and_template() {
        let answer = map(json!({
            "id": 80351110224678912u64, "username": "nelly", "global_name": null, "avatar": "8342729096ea",
            "data": [{"id": "44322889", "a.b": "dotted"}], "empty": " ", "x/y": "slash", "x~1y": "tilde",
        }));
        for (place, found) in [
            ("id", Some("80351110224678912")),
            ("data.0.id", Some("44322889")),
            ("/data/0/id", Some("44322889")),
            ("/data/0/a.b", Some("dotted")),
            ("/x~1y", Some("slash")),
            ("/x~01y", Some("tilde")),
            ("global_name | username", Some("nelly")),
            ("empty|username", Some("nelly")),
            ("data", None),
            ("data.1.id", None),
            ("username.first", None),
            (
                "https://cdn.example.org/avatars/{id}/{avatar}.png",
                Some("https://cdn.example.org/avatars/80351110224678912/8342729096ea.png"),
            ),
            (
                "https://cdn.example.org/{x/y}",
                Some("https://cdn.example.org/slash"),
            ),
            (
                "https://cdn.example.org/{/x~1y}",
                Some("https://cdn.example.org/slash"),
            ),
            ("https://cdn.example.org/{global_name}.png", None),
        ] {
            let member: Member = place.parse().unwrap_or_else(|_| panic!("{place}"));
            assert_eq!(member.text(&answer).as_deref(), found, "{place}");
            assert_eq!(member.to_string(), place);
        }
        for bad in [
            "", ".", "a..b", "/", "{", "a}", "{}", "a|", "{a}}", "x{y{z}}", "/a~2b", "/a~", "/~",
        ] {
            assert!(bad.parse::<Member>().is_err(), "{bad}");
        }
    }

    #[test]
    fn p13_template_values_are_percent_encoded() {
        let member: Member = "https://cdn.example.org/{id}.png".parse().unwrap();
        let url = member.text(&map(json!({"id": "../../x?y=#z"}))).unwrap();
        assert_eq!(url, "https://cdn.example.org/..%2F..%2Fx%3Fy%3D%23z.png");
    }

    #[test]
    fn p13_a_subject_is_a_string_or_a_whole_number() {
        let mapping = Mapping {
            subject: "id".parse().unwrap(),
            email: None,
            email_verified: None,
            name: None,
            picture: None,
        };
        let subject = |value: Value| mapping.subject(&map(json!({ "id": value }))).ok();
        assert_eq!(subject(json!(7)).as_deref(), Some("7"));
        assert_eq!(subject(json!("7")).as_deref(), Some("7"));
        assert_eq!(subject(json!(u64::MAX)).as_deref(), Some("18446744073709551615"));
        assert_eq!(subject(json!(" 7")).as_deref(), Some(" 7"));
        for bad in [
            json!(1.5),
            json!(1e300),
            json!(true),
            json!(null),
            json!(""),
            json!(" "),
            json!([1]),
            json!({"id": 1}),
            json!("x".repeat(256)),
        ] {
            assert_eq!(subject(bad.clone()), None, "{bad}");
        }
        let why = |value: Value| mapping.subject(&map(json!({ "id": value }))).unwrap_err();
        for (bad, said) in [
            (
                json!("x".repeat(300)),
                "the member id has 300 bytes, and a subject has at most 255",
            ),
            (
                json!(18_446_744_073_709_551_616.0),
                "a number that is not whole or has more than 64 bits",
            ),
            (json!(""), "but is an empty string"),
            (json!([1]), "but is a list"),
        ] {
            let reason = why(bad);
            assert!(reason.contains(said), "{reason}");
        }
    }
}
