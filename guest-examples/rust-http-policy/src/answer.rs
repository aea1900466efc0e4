//! The answers of the policy service, and how long they are valid. Independent of the gateway, so that it can be tested
//! alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Permissions by name, with any JSON values.
pub type Permissions = Map<String, Value>;

/// Why there are no permissions, with a sentence for the operator.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// It is out of reach, or cannot answer now. An earlier answer may be used.
    Unavailable(String),
    /// It answered without permissions. An earlier answer must not be used, because the policy may have changed.
    Failed(String),
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Value>,
}

/// The permissions in a response with this status.
///
/// # Errors
/// [`Failure`]
pub fn permissions(status: u16, body: &[u8]) -> Result<Permissions, Failure> {
    match status {
        200 => {}
        429 | 500..=599 => {
            return Err(Failure::Unavailable(format!(
                "the policy service answered {status}"
            )));
        }
        _ => return Err(Failure::Failed(format!("the policy service answered {status}"))),
    }
    let failed = |sentence: &str| Err(Failure::Failed(sentence.to_owned()));
    match serde_json::from_slice(body) {
        Ok(Answer {
            result: Some(Value::Object(permissions)),
        }) => Ok(permissions),
        Ok(Answer { result: Some(_) }) => failed("the policy's result is not an object of permissions"),
        Ok(Answer { result: None }) => {
            failed("the policy has no result: is the URL's path right, and does the rule have a default?")
        }
        Err(_) => failed("the policy service did not answer with a JSON object"),
    }
}

/// A cached answer, stored as JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The time of the answer, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The permissions.
    pub permissions: Permissions,
}

/// Whether a cached answer can be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    /// It is fresh.
    Fresh,
    /// It can be used if the policy service is out of reach.
    Stale,
    /// Nothing.
    Over,
}

impl Kept {
    /// # Errors
    /// A sentence for the operator if the text does not come from [`Kept::write`].
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the cached value is not an answer: {error}"))
    }

    /// # Errors
    /// Never in practice, because this is plain JSON.
    pub fn write(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// Whether it can be used at `now` (milliseconds since the Unix epoch), by the current settings.
    pub fn usable(&self, now: u64, cache: Duration, stale: Duration) -> Use {
        // An answer from the future: the clock was set back, so its age is unknown.
        let Some(age) = now.checked_sub(self.at).map(Duration::from_millis) else {
            return Use::Over;
        };
        if age < cache {
            Use::Fresh
        } else if age < cache.saturating_add(stale) {
            Use::Stale
        } else {
            Use::Over
        }
    }
}

/// How many seconds to cache an answer, or `None`.
pub fn lifetime(cache: Duration, stale: Duration) -> Option<u64> {
    let whole = cache.saturating_add(stale);
    // Rounded up to a whole second; `usable` decides exactly.
    let up = u64::from(whole.subsec_nanos() > 0);
    Some(whole.as_secs().saturating_add(up)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Failure, Kept, Use, lifetime, permissions};

    #[test]
    fn permissions_are_the_result() {
        let read = permissions(
            200,
            br#"{"result": {"edit": true, "quota": 1e2}, "decision_id": "x"}"#,
        );
        assert_eq!(
            serde_json::Value::from(read.unwrap()),
            json!({"edit": true, "quota": 100.0})
        );
        assert_eq!(permissions(200, br#"{"result": {}}"#).unwrap().len(), 0);
    }

    #[test]
    fn other_answers_are_failures() {
        for (status, body) in [
            (200, &b"{}"[..]),
            (200, br#"{"result": null}"#),
            (200, br#"{"result": true}"#),
            (200, br#"{"result": [{"edit": true}]}"#),
            (200, br#"{"result": {"edit": true}"#),
            (200, br#"{"edit": true}"#),
            (200, b"<html>"),
            (200, b""),
            (201, br#"{"result": {"edit": true}}"#),
            (204, b""),
            (302, br#"{"result": {"edit": true}}"#),
            (400, br#"{"result": {"edit": true}}"#),
            (401, b""),
            (403, b""),
            (404, b""),
        ] {
            let answer = permissions(status, body);
            assert!(matches!(answer, Err(Failure::Failed(_))), "{status}: {answer:?}");
        }
        for status in [429, 500, 502, 503, 599] {
            let answer = permissions(status, br#"{"result": {"edit": true}}"#);
            assert!(
                matches!(answer, Err(Failure::Unavailable(_))),
                "{status}: {answer:?}"
            );
        }
    }

    #[test]
    fn answers_are_fresh_then_stale_then_expired() {
        let kept = Kept {
            at: 10_000,
            permissions: serde_json::Map::new(),
        };
        let (cache, stale) = (Duration::from_secs(5), Duration::from_secs(60));
        for (now, usable) in [
            (10_000, Use::Fresh),
            (14_999, Use::Fresh),
            (15_000, Use::Stale),
            (74_999, Use::Stale),
            (75_000, Use::Over),
            (9_999, Use::Over),
        ] {
            assert_eq!(kept.usable(now, cache, stale), usable, "{now}");
        }
        assert_eq!(kept.usable(10_000, Duration::ZERO, stale), Use::Stale);
        assert_eq!(kept.usable(10_000, Duration::ZERO, Duration::ZERO), Use::Over);
        assert_eq!(kept.usable(u64::MAX, Duration::MAX, Duration::MAX), Use::Fresh);
    }

    #[test]
    fn answers_are_cached_while_usable() {
        let seconds = |cache, stale| lifetime(Duration::from_millis(cache), Duration::from_millis(stale));
        assert_eq!(seconds(0, 0), None);
        assert_eq!(seconds(1, 0), Some(1));
        assert_eq!(seconds(1500, 1500), Some(3));
        assert_eq!(seconds(1500, 1501), Some(4));
    }

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        let values = json!({"a": 9_007_199_254_740_993_u64, "b": [null, {"c": "ü"}]});
        let permissions = values.as_object().unwrap().clone();
        let kept = Kept { at: 1, permissions };
        assert_eq!(Kept::read(&kept.write().unwrap()), Ok(kept));
        for wrong in [
            &b""[..],
            b"{}",
            br#"{"at": 1}"#,
            br#"{"permissions": {"edit": true}}"#,
            b"[]",
        ] {
            assert!(Kept::read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
