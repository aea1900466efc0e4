//! The groups of one person: from the claims of a sign-in, and as stored until the next. Independent of the gateway, so
//! that it can be tested alone.

use std::time::Duration;

use serde_json::Value;

/// The prefix of the keys for one user's groups at one provider. An id has 32 characters, a provider's name at most 64,
/// and neither has a slash.
pub fn prefix(user_id: &str, provider: &str) -> String {
    format!("{user_id}/{provider}/")
}

/// The key for a sign-in at `at` (seconds since the Unix epoch): later ones sort after it.
pub fn key(prefix: &str, at: u64) -> String {
    format!("{prefix}{at:020}")
}

/// For how many seconds more the groups of a sign-in at `at` count at `now`: `None` where that is over, as it
/// may be for an event that was delivered late.
pub fn remaining(at: u64, keep: Duration, now: u64) -> Option<u64> {
    let end = at.saturating_add(keep.as_secs());
    end.checked_sub(now).filter(|seconds| *seconds > 0)
}

/// Returns the groups as they are stored.
pub fn write(groups: &[String]) -> Vec<u8> {
    Value::from(groups).to_string().into_bytes()
}

/// # Errors
/// A sentence for the operator if [`write`] did not write this.
pub fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("the stored value is not a list of groups: {error}"))
}

/// The groups in the claims: a list of texts, or one text. Empty if the claim is missing.
///
/// # Errors
/// A sentence for the operator if the claim is something else.
pub fn in_claims(claims: &str, claim: &str) -> Result<Vec<String>, String> {
    let claims: Value =
        serde_json::from_str(claims).map_err(|error| format!("the claims are not JSON: {error}"))?;
    let found = if claim.starts_with('/') {
        claims.pointer(claim)
    } else {
        claims.get(claim)
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let groups = match found {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => text(one).map(|group| vec![group]),
    };
    groups.ok_or_else(|| format!("the claim `{claim}` is neither a text nor a list of texts"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{in_claims, key, prefix, read, remaining, write};

    #[test]
    fn finds_groups_wherever_providers_put_them() {
        let claims = r#"{
            "groups": ["staff", "/wiki/editors"], "hd": "example.org", "none": null, "empty": [],
            "realm_access": {"roles": ["admin"]}, "https://example.org/groups": ["x"]
        }"#;
        for (claim, groups) in [
            ("groups", &["staff", "/wiki/editors"][..]),
            ("hd", &["example.org"]),
            ("/realm_access/roles", &["admin"]),
            ("https://example.org/groups", &["x"]),
            ("none", &[]),
            ("empty", &[]),
            ("missing", &[]),
            ("/realm_access/missing", &[]),
            ("realm_access.roles", &[]),
        ] {
            assert_eq!(in_claims(claims, claim).unwrap(), groups, "{claim}");
        }
    }

    #[test]
    fn other_claims_are_errors() {
        for wrong in ["1", "true", "{}", r#"["staff", 1]"#, r#"[["staff"]]"#] {
            let claims = format!(r#"{{"groups": {wrong}}}"#);
            let error = in_claims(&claims, "groups").unwrap_err();
            assert!(
                error.contains("neither a text nor a list of texts"),
                "{wrong}: {error}"
            );
        }
        assert!(in_claims("{", "groups").is_err());
    }

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        for groups in [vec![], vec!["a \"b\" ü".to_owned(), "c".to_owned()]] {
            assert_eq!(read(&write(&groups)), Ok(groups));
        }
        for wrong in [
            &b""[..],
            b"staff",
            b"\"staff\"",
            b"[\"staff\"",
            b"[\"staff\"] \"admin\"",
            b"[\"staff\", 1]",
            b"{\"groups\": [\"staff\"]}",
            b"null",
            b"[\"\xff\"]",
        ] {
            assert!(read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn later_sign_ins_sort_after_earlier_ones() {
        let company = prefix("0123456789abcdef0123456789abcdef", "company");
        let ats = [0, 9, 10, 1_700_000_000, 10_000_000_000, u64::MAX];
        let keys = ats.map(|at| key(&company, at));
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(
            keys.iter()
                .all(|key| key.len() <= 256 && key.starts_with(&company))
        );
        // One provider's name may be a prefix of another's.
        assert!(!keys[0].starts_with(&prefix("0123456789abcdef0123456789abcdef", "comp")));
    }

    #[test]
    fn count_from_the_sign_in_and_not_from_its_delivery() {
        let keep = Duration::from_secs(10);
        assert_eq!(remaining(100, keep, 100), Some(10));
        assert_eq!(remaining(100, keep, 109), Some(1));
        assert_eq!(remaining(100, keep, 110), None);
        assert_eq!(remaining(100, keep, 111), None);
        // The clock was set back.
        assert_eq!(remaining(100, keep, 90), Some(20));
        assert_eq!(remaining(100, Duration::MAX, 100), Some(u64::MAX - 100));
    }
}
