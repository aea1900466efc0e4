//! What well-known providers need: one entry a preset, in the words of the file. A setting that the operator writes wins.
//!
//! Placeholders in braces are filled in from the section: `{domain}` from `domain`, and so on; `{region}` is what stands
//! before the `_` of a Cognito user pool. What a preset needs and the section lacks is named by an error.

/// A preset.
#[derive(Debug)]
pub(super) struct Preset {
    /// Its name.
    pub(super) name: &'static str,
    /// What has to be filled in, beside the client's id and what proves who the client is.
    pub(super) needs: &'static [Need],
    /// Settings: keys of `[providers.NAME]`, and values written as in a variable.
    pub(super) settings: &'static [(&'static str, &'static str)],
}

/// Something that only the operator knows.
#[derive(Debug)]
pub(super) struct Need {
    /// The key.
    pub(super) key: &'static str,
    /// What it is, to follow "set it to".
    pub(super) what: &'static str,
    /// What it must look like.
    pub(super) shape: Shape,
    /// What it is where nobody says.
    pub(super) default: Option<&'static str>,
}

/// What a value must look like. Each becomes a part of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A host's name with an optional port and path, without a scheme.
    Domain,
    /// Letters, digits, `_`, `-` and `.`.
    Word,
    /// Letters and digits that begin with a region and `_`: `eu-central-1_AbCdEfGhI`.
    Pool,
    /// A UUID.
    Uuid,
    /// Anything: it is read as a setting of its own.
    Setting,
}

const fn domain(what: &'static str) -> Need {
    Need {
        key: "domain",
        what,
        shape: Shape::Domain,
        default: None,
    }
}

const fn word(key: &'static str, what: &'static str) -> Need {
    Need {
        key,
        what,
        shape: Shape::Word,
        default: None,
    }
}

const fn setting(key: &'static str, what: &'static str) -> Need {
    Need {
        key,
        what,
        shape: Shape::Setting,
        default: None,
    }
}

/// All of them, by name.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "apple",
        needs: &[
            setting("team_id", "the ID of your team, ten characters"),
            setting(
                "client_key_id",
                "the ID of the key for Sign in with Apple, ten characters",
            ),
        ],
        settings: &[
            ("issuer", "https://appleid.apple.com"),
            ("client_auth", "apple"),
            ("client_key_alg", "ES256"),
            // Anything else is refused with invalid_scope, and what is asked for is only sent by POST.
            ("scopes", "openid;name;email"),
            ("response_mode", "form_post"),
            ("userinfo", "never"),
            // "The servers only return verified email addresses": the claim may be a text, or missing.
            ("assume_email_verified", "true"),
            ("display_name", "Apple"),
            ("icon", "apple"),
        ],
    },
    Preset {
        name: "auth0",
        needs: &[domain("the domain of your tenant, as in example.eu.auth0.com")],
        settings: &[
            // With a slash at its end.
            ("issuer", "https://{domain}/"),
            ("client_assertion_audience", "issuer"),
            ("display_name", "Auth0"),
            ("icon", "auth0"),
        ],
    },
    Preset {
        name: "authelia",
        needs: &[domain("the host of your Authelia, as in auth.example.org")],
        settings: &[
            ("issuer", "https://{domain}"),
            // Since 4.39 its ID tokens say nothing of the person.
            ("userinfo", "always"),
            ("display_name", "Authelia"),
            ("icon", "authelia"),
        ],
    },
    Preset {
        name: "authentik",
        needs: &[
            domain("the host of your authentik, as in authentik.example.org"),
            word("application", "the slug of the application"),
        ],
        settings: &[
            ("issuer", "https://{domain}/application/o/{application}/"),
            ("display_name", "authentik"),
            ("icon", "authentik"),
        ],
    },
    Preset {
        name: "cognito",
        needs: &[Need {
            key: "user_pool",
            what: "the ID of the user pool, as in eu-central-1_AbCdEfGhI",
            shape: Shape::Pool,
            default: None,
        }],
        settings: &[
            ("issuer", "https://cognito-idp.{region}.amazonaws.com/{user_pool}"),
            ("display_name", "Amazon Cognito"),
            ("icon", "cognito"),
        ],
    },
    Preset {
        name: "discord",
        needs: &[],
        settings: &[
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
            ("display_name", "Discord"),
            ("icon", "discord"),
        ],
    },
    Preset {
        name: "entra",
        needs: &[Need {
            key: "tenant",
            what: "the directory (tenant) ID, a UUID; the name of a domain does not do",
            shape: Shape::Uuid,
            default: None,
        }],
        settings: &[
            ("issuer", "https://login.microsoftonline.com/{tenant}/v2.0"),
            ("display_name", "Microsoft"),
            ("icon", "microsoft"),
        ],
    },
    Preset {
        name: "entra-tenants",
        needs: &[setting(
            "tenants",
            "the directory (tenant) IDs of the organizations whose people may sign in, a list of UUIDs",
        )],
        settings: &[
            ("issuer", "https://login.microsoftonline.com/{tenantid}/v2.0"),
            (
                "discovery_url",
                "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
            ),
            ("display_name", "Microsoft"),
            ("icon", "microsoft"),
        ],
    },
    Preset {
        name: "facebook",
        needs: &[],
        settings: &[
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
            ("display_name", "Facebook"),
            ("icon", "facebook"),
        ],
    },
    Preset {
        name: "forgejo",
        needs: &[domain("the host of your Forgejo, as in codeberg.org")],
        settings: &[
            ("issuer", "https://{domain}"),
            ("display_name", "Forgejo"),
            ("icon", "forgejo"),
        ],
    },
    Preset {
        name: "gitea",
        needs: &[domain("the host of your Gitea, as in git.example.org")],
        settings: &[
            ("issuer", "https://{domain}"),
            ("display_name", "Gitea"),
            ("icon", "gitea"),
        ],
    },
    Preset {
        name: "github",
        needs: &[],
        settings: &[("kind", "github"), ("display_name", "GitHub"), ("icon", "github")],
    },
    Preset {
        name: "gitlab",
        needs: &[Need {
            key: "domain",
            what: "the host of your GitLab",
            shape: Shape::Domain,
            default: Some("gitlab.com"),
        }],
        settings: &[
            ("issuer", "https://{domain}"),
            ("display_name", "GitLab"),
            ("icon", "gitlab"),
        ],
    },
    Preset {
        name: "google",
        needs: &[],
        settings: &[
            ("issuer", "https://accounts.google.com"),
            ("display_name", "Google"),
            ("icon", "google"),
        ],
    },
    Preset {
        name: "kanidm",
        needs: &[domain("the host of your Kanidm, as in idm.example.org")],
        settings: &[
            ("issuer", "https://{domain}/oauth2/openid/{client_id}"),
            ("display_name", "Kanidm"),
            ("icon", "kanidm"),
        ],
    },
    Preset {
        name: "keycloak",
        needs: &[
            domain(
                "the host of your Keycloak, as in id.example.org, with /auth behind it for versions before 17",
            ),
            word("realm", "the name of the realm"),
        ],
        settings: &[
            ("issuer", "https://{domain}/realms/{realm}"),
            // The client of Keycloak's own account pages, which the default mapper of audiences adds.
            ("audiences", "account"),
            ("client_assertion_audience", "issuer"),
            ("display_name", "Keycloak"),
            ("icon", "keycloak"),
        ],
    },
    Preset {
        name: "linkedin",
        needs: &[],
        settings: &[
            ("issuer", "https://www.linkedin.com/oauth"),
            ("client_auth", "post"),
            // Its ID tokens have none.
            ("nonce", "optional"),
            ("display_name", "LinkedIn"),
            ("icon", "linkedin"),
        ],
    },
    Preset {
        name: "okta",
        needs: &[domain(
            "the domain of your organization, as in example.okta.com, with /oauth2/default behind it for that \
             authorization server",
        )],
        settings: &[
            ("issuer", "https://{domain}"),
            ("display_name", "Okta"),
            ("icon", "okta"),
        ],
    },
    Preset {
        name: "slack",
        needs: &[],
        settings: &[
            ("issuer", "https://slack.com"),
            ("client_auth", "post"),
            ("display_name", "Slack"),
            ("icon", "slack"),
        ],
    },
    Preset {
        name: "twitch",
        needs: &[],
        settings: &[
            ("issuer", "https://id.twitch.tv/oauth2"),
            ("client_auth", "post"),
            // `profile` and `email` are not scopes there; what is wanted is named claim by claim.
            ("scopes", "openid;user:read:email"),
            (
                "authorization_parameters",
                r#"claims={"id_token":{"email":null,"email_verified":null,"picture":null,"preferred_username":null}}"#,
            ),
            ("display_name", "Twitch"),
            ("icon", "twitch"),
        ],
    },
    Preset {
        name: "zitadel",
        needs: &[
            domain("the domain of your instance, as in example-ab12cd.zitadel.cloud"),
            setting(
                "audiences",
                "the resource ID of the project and the client IDs of its other applications, a list: ZITADEL names all of \
                 them in every ID token",
            ),
        ],
        settings: &[
            ("issuer", "https://{domain}"),
            ("display_name", "ZITADEL"),
            ("icon", "zitadel"),
        ],
    },
];

/// The preset of a name.
pub(super) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Shape {
    /// What a value must be, if it is not that, to follow "must be".
    pub(super) fn problem(self, text: &str) -> Option<&'static str> {
        let only = |more: &[u8]| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        match self {
            Self::Domain => {
                let good = only(b"._-:/~")
                    && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && !text.contains("//")
                    && !text.split('/').any(|part| part == ".." || part == ".")
                    && !text.ends_with('/');
                (!good).then_some(
                    "a host, as in id.example.org, without https:// and without a slash at its end",
                )
            }
            Self::Word => {
                let good = (1..=128).contains(&text.len()) && only(b"_.-") && !matches!(text, "." | "..");
                (!good).then_some("letters, digits, `_`, `-` and `.`")
            }
            Self::Pool => {
                let parts = text.split_once('_');
                let good = parts.is_some_and(|(region, pool)| {
                    let is_id = !pool.is_empty() && pool.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    is_id && region.contains('-') && only(b"-_") && text.len() <= 64
                });
                (!good).then_some("the ID of a user pool, as in eu-central-1_AbCdEfGhI")
            }
            Self::Uuid => {
                let parts: Vec<usize> = text.split('-').map(str::len).collect();
                let good = parts == [8, 4, 4, 4, 12]
                    && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
                (!good).then_some("a UUID, as in 01234567-89ab-cdef-0123-456789abcdef")
            }
            Self::Setting => None,
        }
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
            let setting = |key| {
                preset
                    .settings
                    .iter()
                    .find(|(name, _)| *name == key)
                    .map(|(_, value)| *value)
            };
            let issuer = setting("issuer").unwrap_or_default();
            for placeholder in issuer
                .split('{')
                .skip(1)
                .map(|rest| rest.split('}').next().unwrap())
            {
                assert!(known.contains(placeholder), "{}: {placeholder}", preset.name);
            }
            assert!(setting("display_name").is_some(), "{}", preset.name);
        }
    }

    #[test]
    fn what_is_filled_in_cannot_lead_elsewhere() {
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
