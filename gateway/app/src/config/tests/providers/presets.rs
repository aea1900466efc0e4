//! The configuration that each preset makes.

use super::{loaded, one};

/// The host of each preset, from the provider's documentation.
#[test]
fn p13_presets_configure_their_providers() {
    for (lines, issuer) in [
        (
            "preset = \"auth0\"\ndomain = \"x.eu.auth0.com\"",
            "https://x.eu.auth0.com/",
        ),
        (
            "preset = \"authelia\"\ndomain = \"auth.example.org\"",
            "https://auth.example.org",
        ),
        (
            "preset = \"authentik\"\ndomain = \"a.example.org\"\napplication = \"app\"",
            "https://a.example.org/application/o/app/",
        ),
        (
            "preset = \"cognito\"\nuser_pool = \"eu-central-1_AbC\"",
            "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC",
        ),
        ("preset = \"discord\"", "https://discord.com"),
        (
            "preset = \"entra\"\ntenant = \"0A0A0A0A-0000-4000-8000-0000000000aa\"",
            "https://login.microsoftonline.com/0a0a0a0a-0000-4000-8000-0000000000aa/v2.0",
        ),
        ("preset = \"facebook\"", "https://www.facebook.com"),
        (
            "preset = \"forgejo\"\ndomain = \"codeberg.org\"",
            "https://codeberg.org",
        ),
        (
            "preset = \"gitea\"\ndomain = \"git.example.org:3000\"",
            "https://git.example.org:3000",
        ),
        ("preset = \"github\"", "https://github.com"),
        ("preset = \"gitlab\"", "https://gitlab.com"),
        (
            "preset = \"gitlab\"\ndomain = \"git.example.org\"",
            "https://git.example.org",
        ),
        ("preset = \"google\"", "https://accounts.google.com"),
        (
            "preset = \"kanidm\"\ndomain = \"idm.example.org\"",
            "https://idm.example.org/oauth2/openid/id",
        ),
        (
            "preset = \"keycloak\"\ndomain = \"id.example.org/auth\"\nrealm = \"main\"",
            "https://id.example.org/auth/realms/main",
        ),
        ("preset = \"linkedin\"", "https://www.linkedin.com/oauth"),
        (
            "preset = \"okta\"\ndomain = \"x.okta.com/oauth2/default\"",
            "https://x.okta.com/oauth2/default",
        ),
        ("preset = \"slack\"", "https://slack.com"),
        ("preset = \"twitch\"", "https://id.twitch.tv/oauth2"),
        (
            "preset = \"zitadel\"\ndomain = \"x.zitadel.cloud\"\naudiences = []",
            "https://x.zitadel.cloud",
        ),
    ] {
        let loaded = loaded(lines);
        assert_eq!(loaded.kind.issuer(), issuer, "{lines}");
        assert!(loaded.display_name.is_some() && loaded.icon.is_some(), "{lines}");
    }
    let github = one("kind = \"github\"\nscopes = [\"read:user\"]")
        .load()
        .warnings
        .join("\n");
    assert!(
        github.contains("scopes: without the scope user:email"),
        "{github}"
    );
    // The file wins.
    let other = loaded("preset = \"google\"\ndisplay_name = \"Work\"\nscopes = [\"openid\"]");
    assert_eq!(
        (other.display_name.as_deref(), other.scopes),
        (Some("Work"), vec!["openid".to_owned()])
    );
    let reported = one("preset = \"linkedin\"").reported("providers.work.nonce");
    assert_eq!(reported, "providers.work.nonce optional preset linkedin");
}
