//! The texts of the pages: one struct for each section of `templates/text/*.toml`. A translation that lacks a key, or
//! has an unknown one, is an error.

use serde::{Deserialize, Serialize};

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

/// Declares the keys of a section, all of one type.
macro_rules! section {
    ($(#[$attribute:meta])* $name:ident of $type:ty: $($key:ident)*) => {
        $(#[$attribute])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $key: $type),* }
    };
}

section! {
    Common of String:
    skip error reference again home another back continue_with test_user provider no_providers
}

section! {
    SignIn of String:
    title to
}

section! {
    /// The question whether to begin one more sign-in.
    More of String:
    title message button
}

section! {
    /// The page of the development sign-in.
    #[cfg_attr(not(feature = "dev"), expect(dead_code, reason = "only the development sign-in shows them"))]
    TestUsers of String:
    title notice_title notice other name hint button
}

section! {
    /// The gateway's own page.
    Home of String:
    title lead no_script loading sign_out username user_id provider joined choose_username username_hint
    set_username permissions service show_permissions no_services permission value token header claims raw verify
    key_set public_key
}

section! {
    #[derive(Serialize)]
    Script of String:
    test_sign_in storage unreachable no_answer no_answer_because try_again page_failed session_ended foreign
    signed_in signed_out nameless no_email not_set username_set username_refused username_taken username_reserved
    username_length username_characters username_dash username_id service_gone no_permissions one_permission
    permissions token_times checking_signature signature_unknown signature_good signature_bad
}

section! {
    Errors of Said:
    denied provider_refused provider_unavailable session_ended bad_hint rejected disabled email_in_use try_later
    reload provider_slow provider_down busy provider_wrong unconfirmed mismatch bad_return unknown_return
    long_return foreign_sign_out too_many not_a_person expired completed failed_before elsewhere not_found
    unknown_provider wrong_method unreadable bad_name
}

section! {
    Said of String:
    title message
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
