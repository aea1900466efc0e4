//! The settings of well-known providers, in the words of the configuration file. A setting of the operator wins.
//!
//! Placeholders in braces are filled in from the section: `{domain}` from `domain`, and so on; `{region}` is the part of a
//! Cognito user pool before its `_`. An error names what a preset needs and the section lacks.

#[derive(Debug)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) display_name: &'static str,
    /// The settings that the operator must add to `client_id` and the client's secret or key.
    pub(super) needs: &'static [Need],
    /// Keys of `[providers.NAME]`, and values written as in a variable.
    settings: &'static [(&'static str, &'static str)],
}

#[derive(Debug)]
pub(super) struct Need {
    pub(super) key: &'static str,
    /// Follows "set it to".
    pub(super) what: &'static str,
    pub(super) shape: Shape,
    pub(super) default: Option<&'static str>,
}

/// The form of a value that becomes a part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A host's name with an optional port and path, without a scheme.
    Domain,
    /// Letters, digits, `_`, `-` and `.`.
    Word,
    /// Letters and digits that begin with a region and `_`: `eu-central-1_AbCdEfGhI`.
    Pool,
    Uuid,
    /// Anything: the key is a setting that is checked elsewhere.
    Setting,
}

const fn need(key: &'static str, what: &'static str, shape: Shape) -> Need {
    Need {
        key,
        what,
        shape,
        default: None,
    }
}

const fn domain(what: &'static str) -> Need {
    need("domain", what, Shape::Domain)
}

const fn preset(
    name: &'static str,
    display_name: &'static str,
    needs: &'static [Need],
    settings: &'static [(&'static str, &'static str)],
) -> Preset {
    Preset {
        name,
        display_name,
        needs,
        settings,
    }
}

/// In the order of their names.
pub(super) const PRESETS: &[Preset] = &[
    preset(
        "apple",
        "Apple",
        &[
            need("team_id", "the ID of your team, ten characters", Shape::Setting),
            need(
                "client_key_id",
                "the ID of the key for Sign in with Apple, ten characters",
                Shape::Setting,
            ),
        ],
        &[
            ("issuer", "https://appleid.apple.com"),
            ("client_auth", "apple"),
            ("client_key_alg", "ES256"),
            // Apple rejects other scopes with invalid_scope, and sends name and email only by POST.
            ("scopes", "openid;name;email"),
            ("response_mode", "form_post"),
            ("userinfo", "never"),
            // "The servers only return verified email addresses": the claim may be a text, or missing.
            ("assume_email_verified", "true"),
        ],
    ),
    preset(
        "auth0",
        "Auth0",
        &[domain("the domain of your tenant, as in example.eu.auth0.com")],
        // The issuer ends with a slash.
        &[
            ("issuer", "https://{domain}/"),
            ("client_assertion_audience", "issuer"),
        ],
    ),
    preset(
        "authelia",
        "Authelia",
        &[domain("the host of your Authelia, as in auth.example.org")],
        // Since 4.39, its ID tokens have no claims about the user.
        &[("issuer", "https://{domain}"), ("userinfo", "always")],
    ),
    preset(
        "authentik",
        "authentik",
        &[
            domain("the host of your authentik, as in authentik.example.org"),
            need("application", "the slug of the application", Shape::Word),
        ],
        &[("issuer", "https://{domain}/application/o/{application}/")],
    ),
    preset(
        "cognito",
        "Amazon Cognito",
        &[need(
            "user_pool",
            "the ID of the user pool, as in eu-central-1_AbCdEfGhI",
            Shape::Pool,
        )],
        &[("issuer", "https://cognito-idp.{region}.amazonaws.com/{user_pool}")],
    ),
    preset(
        "discord",
        "Discord",
        &[],
        &[
            ("kind", "oauth2"),
            ("issuer", "https://discord.com"),
            ("authorize_url", "https://discord.com/oauth2/authorize"),
            ("token_url", "https://discord.com/api/oauth2/token"),
            ("userinfo_url", "https://discord.com/api/users/@me"),
            ("scopes", "identify;email"),
            ("claims.subject", "id"),
            ("claims.email", "email"),
            ("claims.email_verified", "verified"),
            ("claims.name", "global_name | username"),
            (
                "claims.picture",
                "https://cdn.discordapp.com/avatars/{id}/{avatar}.png",
            ),
        ],
    ),
    preset(
        "entra",
        "Microsoft",
        &[need(
            "tenant",
            "the directory (tenant) ID, a UUID; the name of a domain does not work",
            Shape::Uuid,
        )],
        &[
            ("issuer", "https://login.microsoftonline.com/{tenant}/v2.0"),
            ("icon", "microsoft"),
        ],
    ),
    preset(
        "entra-tenants",
        "Microsoft",
        &[need(
            "tenants",
            "the directory (tenant) IDs of the organizations whose users may sign in, a list of UUIDs",
            Shape::Setting,
        )],
        &[
            ("issuer", "https://login.microsoftonline.com/{tenantid}/v2.0"),
            (
                "discovery_url",
                "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
            ),
            ("icon", "microsoft"),
        ],
    ),
    preset(
        "facebook",
        "Facebook",
        &[],
        &[
            ("kind", "oauth2"),
            ("issuer", "https://www.facebook.com"),
            ("authorize_url", "https://www.facebook.com/v23.0/dialog/oauth"),
            ("token_url", "https://graph.facebook.com/v23.0/oauth/access_token"),
            (
                "userinfo_url",
                "https://graph.facebook.com/v23.0/me?fields=id,name,email,picture",
            ),
            ("client_auth", "post"),
            ("scopes", "public_profile;email"),
            ("claims.subject", "id"),
            ("claims.email", "email"),
            ("claims.name", "name"),
            ("claims.picture", "picture.data.url"),
        ],
    ),
    preset(
        "forgejo",
        "Forgejo",
        &[domain("the host of your Forgejo, as in codeberg.org")],
        &[("issuer", "https://{domain}")],
    ),
    preset(
        "gitea",
        "Gitea",
        &[domain("the host of your Gitea, as in git.example.org")],
        &[("issuer", "https://{domain}")],
    ),
    preset("github", "GitHub", &[], &[("kind", "github")]),
    preset(
        "gitlab",
        "GitLab",
        &[Need {
            default: Some("gitlab.com"),
            ..domain("the host of your GitLab")
        }],
        &[("issuer", "https://{domain}")],
    ),
    preset(
        "google",
        "Google",
        &[],
        &[("issuer", "https://accounts.google.com")],
    ),
    preset(
        "kanidm",
        "Kanidm",
        &[domain("the host of your Kanidm, as in idm.example.org")],
        &[("issuer", "https://{domain}/oauth2/openid/{client_id}")],
    ),
    preset(
        "keycloak",
        "Keycloak",
        &[
            domain(
                "the host of your Keycloak, as in id.example.org, followed by /auth for versions before 17",
            ),
            need("realm", "the name of the realm", Shape::Word),
        ],
        &[
            ("issuer", "https://{domain}/realms/{realm}"),
            // The client of Keycloak's own account pages, which the default audience mapper adds.
            ("audiences", "account"),
            ("client_assertion_audience", "issuer"),
        ],
    ),
    preset(
        "linkedin",
        "LinkedIn",
        &[],
        // Its ID tokens have no nonce.
        &[
            ("issuer", "https://www.linkedin.com/oauth"),
            ("client_auth", "post"),
            ("nonce", "optional"),
        ],
    ),
    preset(
        "okta",
        "Okta",
        &[domain(
            "the domain of your organization, as in example.okta.com, followed by /oauth2/default for that \
             authorization server",
        )],
        &[("issuer", "https://{domain}")],
    ),
    preset(
        "slack",
        "Slack",
        &[],
        &[("issuer", "https://slack.com"), ("client_auth", "post")],
    ),
    preset(
        "twitch",
        "Twitch",
        &[],
        &[
            ("issuer", "https://id.twitch.tv/oauth2"),
            ("client_auth", "post"),
            // Twitch has no scopes `profile` and `email`; an application names each claim.
            ("scopes", "openid;user:read:email"),
            (
                "authorization_parameters",
                r#"claims={"id_token":{"email":null,"email_verified":null,"picture":null,"preferred_username":null}}"#,
            ),
        ],
    ),
    preset(
        "zitadel",
        "ZITADEL",
        &[
            domain("the domain of your instance, as in example-ab12cd.zitadel.cloud"),
            need(
                "audiences",
                "the resource ID of the project and the client IDs of its other applications, a list: ZITADEL names all \
                 of them in every ID token",
                Shape::Setting,
            ),
        ],
        &[("issuer", "https://{domain}")],
    ),
];

impl Preset {
    /// All settings. The icon is the one with the preset's name, unless the preset says otherwise.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let shown = [("display_name", self.display_name), ("icon", self.name)];
        shown.into_iter().chain(self.settings.iter().copied())
    }
}

pub(super) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Shape {
    /// The message for a text without this form, to follow "must be".
    pub(super) fn problem(self, text: &str) -> Option<&'static str> {
        let only = |more: &[u8]| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let (good, right) = match self {
            Self::Domain => (
                only(b"._-:/~")
                    && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && !text.contains("//")
                    && !text.split('/').any(|part| part == ".." || part == ".")
                    && !text.ends_with('/'),
                "a host, as in id.example.org, without https:// and without a slash at its end",
            ),
            Self::Word => (
                (1..=128).contains(&text.len()) && only(b"_.-") && !matches!(text, "." | ".."),
                "letters, digits, `_`, `-` and `.`",
            ),
            Self::Pool => (
                text.split_once('_').is_some_and(|(region, pool)| {
                    let is_id = !pool.is_empty() && pool.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    is_id && region.contains('-') && only(b"-_") && text.len() <= 64
                }),
                "the ID of a user pool, as in eu-central-1_AbCdEfGhI",
            ),
            Self::Uuid => (
                text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
                    && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'),
                "a UUID, as in 01234567-89ab-cdef-0123-456789abcdef",
            ),
            Self::Setting => return None,
        };
        (!good).then_some(right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{PRESETS, Shape};

    #[test]
    fn presets_are_in_order_and_their_placeholders_are_filled_in() {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        assert!(names.is_sorted() && BTreeSet::from_iter(&names).len() == names.len());
        for preset in PRESETS {
            let mut known: BTreeSet<&str> = preset.needs.iter().map(|need| need.key).collect();
            known.insert("client_id");
            if known.contains("user_pool") {
                known.insert("region");
            }
            if known.contains("tenants") {
                known.insert("tenantid");
            }
            let issuer = preset.settings().find(|(key, _)| *key == "issuer");
            let (_, issuer) = issuer.unwrap_or_default();
            for placeholder in issuer
                .split('{')
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap())
            {
                assert!(known.contains(placeholder), "{}: {placeholder}", preset.name);
            }
        }
    }

    #[test]
    fn placeholders_cannot_change_the_host() {
        for (shape, text, good) in [
            (Shape::Domain, "id.example.org", true),
            (Shape::Domain, "id.example.org:8443/auth", true),
            (Shape::Domain, "https://id.example.org", false),
            (Shape::Domain, "id.example.org/", false),
            (Shape::Domain, "id.example.org/../x", false),
            (Shape::Domain, "user@id.example.org", false),
            (Shape::Domain, "id.example.org?x", false),
            (Shape::Domain, "", false),
            (Shape::Word, "eu-central-1_AbC", true),
            (Shape::Word, "a/b", false),
            (Shape::Word, "..", false),
            (Shape::Word, "", false),
            (Shape::Uuid, "9188040d-6c67-4c5b-b112-36a304b66dad", true),
            (Shape::Uuid, "contoso.onmicrosoft.com", false),
            (Shape::Uuid, "common", false),
        ] {
            assert_eq!(shape.problem(text).is_none(), good, "{shape:?} {text:?}");
        }
    }
}
