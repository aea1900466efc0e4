//! The texts of the pages: one struct for each section of `templates/text/*.toml`. A translation that lacks a key, or
//! has an unknown one, is an error.

use serde::{Deserialize, Serialize};

/// All texts in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Texts {
    pub(super) common: Common,
    pub(super) sign_in: SignIn,
    pub(super) more: More,
    #[cfg_attr(
        not(feature = "dev"),
        expect(dead_code, reason = "only the development sign-in shows them")
    )]
    pub(super) test_users: TestUsers,
    pub(super) home: Home,
    pub(super) script: Script,
    pub(super) errors: Errors,
}

/// Texts that several pages share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Common {
    pub(super) skip: String,
    pub(super) error: String,
    pub(super) reference: String,
    pub(super) again: String,
    pub(super) home: String,
    pub(super) another: String,
    pub(super) back: String,
    pub(super) continue_with: String,
    pub(super) test_user: String,
    pub(super) provider: String,
    pub(super) no_providers: String,
}

/// The page with all ways to sign in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    pub(super) title: String,
    pub(super) to: String,
}

/// The question whether to begin one more sign-in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct More {
    pub(super) title: String,
    pub(super) message: String,
    pub(super) button: String,
}

/// The page of the development sign-in.
#[cfg_attr(
    not(feature = "dev"),
    expect(dead_code, reason = "only the development sign-in shows them")
)]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestUsers {
    pub(super) title: String,
    pub(super) notice_title: String,
    pub(super) notice: String,
    pub(super) other: String,
    pub(super) name: String,
    pub(super) hint: String,
    pub(super) button: String,
}

/// The gateway's own page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Home {
    pub(super) title: String,
    pub(super) lead: String,
    pub(super) no_script: String,
    pub(super) loading: String,
    pub(super) sign_out: String,
    pub(super) username: String,
    pub(super) user_id: String,
    pub(super) provider: String,
    pub(super) joined: String,
    pub(super) choose_username: String,
    pub(super) username_hint: String,
    pub(super) set_username: String,
    pub(super) permissions: String,
    pub(super) service: String,
    pub(super) show_permissions: String,
    pub(super) no_services: String,
    pub(super) permission: String,
    pub(super) value: String,
    pub(super) token: String,
    pub(super) header: String,
    pub(super) claims: String,
    pub(super) raw: String,
    pub(super) verify: String,
    pub(super) key_set: String,
    pub(super) public_key: String,
}

/// The texts of its script.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    pub(super) test_sign_in: String,
    pub(super) storage: String,
    pub(super) unreachable: String,
    pub(super) no_answer: String,
    pub(super) no_answer_because: String,
    pub(super) try_again: String,
    pub(super) page_failed: String,
    pub(super) session_ended: String,
    pub(super) foreign: String,
    pub(super) signed_in: String,
    pub(super) signed_out: String,
    pub(super) nameless: String,
    pub(super) no_email: String,
    pub(super) not_set: String,
    pub(super) username_set: String,
    pub(super) username_refused: String,
    pub(super) username_taken: String,
    pub(super) username_reserved: String,
    pub(super) username_length: String,
    pub(super) username_characters: String,
    pub(super) username_dash: String,
    pub(super) username_id: String,
    pub(super) service_gone: String,
    pub(super) no_permissions: String,
    pub(super) one_permission: String,
    pub(super) permissions: String,
    pub(super) token_times: String,
    pub(super) checking_signature: String,
    pub(super) signature_unknown: String,
    pub(super) signature_good: String,
    pub(super) signature_bad: String,
}

/// Error pages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Errors {
    pub(super) denied: Said,
    pub(super) provider_refused: Said,
    pub(super) provider_unavailable: Said,
    pub(super) session_ended: Said,
    pub(super) bad_hint: Said,
    pub(super) rejected: Said,
    pub(super) disabled: Said,
    pub(super) email_in_use: Said,
    pub(super) try_later: Said,
    pub(super) reload: Said,
    pub(super) provider_slow: Said,
    pub(super) provider_down: Said,
    pub(super) busy: Said,
    pub(super) provider_wrong: Said,
    pub(super) unconfirmed: Said,
    pub(super) mismatch: Said,
    pub(super) bad_return: Said,
    pub(super) unknown_return: Said,
    pub(super) long_return: Said,
    pub(super) foreign_sign_out: Said,
    pub(super) too_many: Said,
    pub(super) not_a_person: Said,
    pub(super) expired: Said,
    pub(super) completed: Said,
    pub(super) failed_before: Said,
    pub(super) elsewhere: Said,
    pub(super) not_found: Said,
    pub(super) unknown_provider: Said,
    pub(super) wrong_method: Said,
    pub(super) unreadable: Said,
    pub(super) bad_name: Said,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) title: String,
    pub(super) message: String,
}

/// Replaces each `{name}` by its value. Values are not expanded again.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let value = after.split_once('}').and_then(|(name, tail)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((*value, tail))
        });
        rest = match value {
            Some((value, tail)) => {
                filled.push_str(value);
                tail
            }
            None => {
                filled.push('{');
                after
            }
        };
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn placeholders_are_filled_once() {
        let values = [("a", "{b}"), ("b", "x")];
        assert_eq!(fill("{a} {b} {c} {", &values), "{b} x {c} {");
        assert_eq!(fill("plain", &values), "plain");
        assert_eq!(fill("{b}{b}", &values), "xx");
    }
}
