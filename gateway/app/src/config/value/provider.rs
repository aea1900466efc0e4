//! Values of `[providers.NAME]`.

use gateway_model::text::is_unsafe;
use gateway_upstream::{Audience, Member, NonceRule, Par, ResponseMode, SignOut, Userinfo};

use super::{Form, Value};
use crate::config::presets::{self, PRESETS, Preset};

/// The longest text that is shown to users, in characters.
const MAX_SHOWN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Protocol {
    Oidc,
    OAuth2,
    GitHub,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum ClientAuthMethod {
    Auto,
    Basic,
    Post,
    PrivateKeyJwt,
    Apple,
    None,
}

words!(Protocol, "oidc" => Self::Oidc, "oauth2" => Self::OAuth2, "github" => Self::GitHub);
words!(
    ClientAuthMethod,
    "auto" => Self::Auto,
    "basic" => Self::Basic,
    "post" => Self::Post,
    "private_key_jwt" => Self::PrivateKeyJwt,
    "apple" => Self::Apple,
    "none" => Self::None,
);
words!(Audience, "token_endpoint" => Self::TokenEndpoint, "issuer" => Self::Issuer);
words!(NonceRule, "required" => Self::Required, "optional" => Self::Optional, "off" => Self::Off);
words!(ResponseMode, "query" => Self::Query, "form_post" => Self::FormPost);
words!(Par, "auto" => Self::Auto, "always" => Self::Always, "never" => Self::Never);
words!(
    Userinfo,
    "auto" => Self::Auto,
    "always" => Self::Always,
    "never" => Self::Never,
    "required" => Self::Required,
);

words!(SignOut, "local" => Self::Local, "provider" => Self::Provider);

/// The name of a preset.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct PresetName(pub(in crate::config) &'static Preset);

fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

value!(
    PresetName,
    Form::Words(preset_names),
    |text| {
        let found = presets::find(text).map(Self);
        found.ok_or_else(|| format!("one of {}", preset_names().join(", ")))
    },
    |preset| preset.0.name.to_owned()
);

value!(
    Member,
    Form::Scalar,
    |text| text
        .parse()
        .map_err(|error: gateway_upstream::NotAPlace| error.to_string()),
    Self::to_string
);

kind!(
    /// A scope (RFC 6749 section 3.3).
    ScopeToken(String),
    Form::Scalar,
    |text| {
        let good = !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        good.then(|| text.to_owned()).ok_or_else(|| "a scope without spaces; for several, write a list".into())
    },
    String::clone
);

/// A provider's id of a client or a tenant: a text without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Id(pub(in crate::config) String);

impl Value for Id {
    const IS_TEXT: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let good = !text.is_empty() && !text.contains(|c: char| is_unsafe(c) || c.is_whitespace());
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| "an id without spaces; for several, write a list".into())
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

kind!(
    /// `prompt` (OpenID Connect Core 1.0 section 3.1.2.1): words with spaces between them.
    Prompt(String),
    Form::Pattern("^[a-z_]+( [a-z_]+)*$"),
    |text| {
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !text.split(' ').all(is_word) {
            return Err("words with single spaces between them, as in select_account".into());
        }
        if text.split(' ').any(|word| word == "none") {
            return Err("something other than none, which works only for users who are signed in at the provider".into());
        }
        Ok(text.to_owned())
    },
    String::clone
);

kind!(
    /// A text that users see.
    Shown(String),
    Form::Short(MAX_SHOWN),
    |text| {
        let good = (1..=MAX_SHOWN).contains(&text.chars().count()) && !text.contains(is_unsafe);
        good.then(|| text.to_owned()).ok_or_else(|| {
            format!("a text of up to {MAX_SHOWN} characters, without control characters and line breaks")
        })
    },
    String::clone
);

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::{Id, Prompt, Protocol, ScopeToken, Shown};

    #[test]
    fn p11_prompts_are_words_and_never_none() {
        table::<Prompt>(&[
            ("select_account", Some("select_account")),
            ("login consent", Some("login consent")),
            ("none", None),
            ("login none", None),
            ("login  consent", None),
            ("Login", None),
            ("", None),
        ]);
    }

    #[test]
    fn words_scopes_and_names() {
        table::<Protocol>(&[("oidc", Some("oidc")), ("OIDC", None), ("", None)]);
        table::<ScopeToken>(&[
            ("user:read:email", Some("user:read:email")),
            (
                "https://graph.example.org/.default",
                Some("https://graph.example.org/.default"),
            ),
            ("openid email", None),
            ("a\"b", None),
            ("", None),
        ]);
        table::<Id>(&[("345@project", Some("345@project")), ("a b", None), ("", None)]);
        table::<Shown>(&[
            ("Ünlü GmbH", Some("Ünlü GmbH")),
            ("a\u{202e}b", None),
            ("a\nb", None),
            ("", None),
            (&"x".repeat(65), None),
        ]);
    }
}
