//! The settings of providers, and their presets.

use std::fs;
use std::path::Path;

use gateway_upstream::{
    Audience, ClientAuth, Icon, NonceRule, Par, ProviderKind, ResponseMode, SecretMethod, Userinfo,
};

use super::{Setup, key};

mod presets;

const CLIENT: &str = "client_id = \"id\"\nclient_secret = \"s\"\n";

fn one(lines: &str) -> Setup {
    Setup::with_key(&format!("[providers.work]\n{CLIENT}{lines}"), &[])
}

fn loaded(lines: &str) -> gateway_upstream::ProviderConfig {
    one(lines).load().config.providers.remove(0)
}

#[test]
fn p6_to_p11_settings_come_from_the_file_and_have_safe_defaults() {
    let plain = loaded("issuer = \"https://id.example.org\"");
    assert_eq!(plain.scopes, ["openid", "email", "profile"]);
    assert!(plain.audiences.is_empty() && plain.tenants.is_empty() && !plain.assume_email_verified);
    assert_eq!(
        (plain.nonce, plain.response_mode, plain.par, plain.userinfo),
        (
            NonceRule::Required,
            ResponseMode::Query,
            Par::Auto,
            Userinfo::Auto
        )
    );
    assert!(matches!(
        plain.client_auth,
        ClientAuth::Secret {
            method: SecretMethod::Discovered,
            ..
        }
    ));
    let full = loaded(
        r#"
issuer = "https://id.example.org"
discovery_url = "https://id.example.org/x?p=1"
client_auth = "post"
scopes = ["openid", "groups"]
audiences = ["a", "b"]
nonce = "optional"
response_mode = "form_post"
par = "always"
prompt = "login consent"
userinfo = "never"
assume_email_verified = true
display_name = "Example Ltd"
icon = "keycloak"
[providers.work.authorization_parameters]
acr_values = "gold silver"
max_age = 600
"#,
    );
    assert_eq!(full.scopes, ["openid", "groups"]);
    assert_eq!(full.audiences, ["a", "b"]);
    assert_eq!(
        (full.nonce, full.response_mode, full.par, full.userinfo),
        (
            NonceRule::Optional,
            ResponseMode::FormPost,
            Par::Always,
            Userinfo::Never
        )
    );
    assert_eq!(full.prompt.as_deref(), Some("login consent"));
    assert_eq!(full.discovery.unwrap().as_str(), "https://id.example.org/x?p=1");
    assert_eq!(
        (full.display_name.as_deref(), full.icon),
        (Some("Example Ltd"), Some(Icon::Mark("keycloak".into())))
    );
    let mut parameters = full.authorization_parameters;
    parameters.sort();
    assert_eq!(
        parameters,
        [
            ("acr_values".to_owned(), "gold silver".to_owned()),
            ("max_age".to_owned(), "600".to_owned())
        ]
    );
    assert!(full.assume_email_verified);
}

#[test]
fn p6_to_p11_variables_set_the_same() {
    let variables = [
        ("GATEWAY_PROVIDERS", "work"),
        ("GATEWAY_PROVIDER_WORK_ISSUER", "https://id.example.org"),
        ("GATEWAY_PROVIDER_WORK_CLIENT_ID", "id"),
        ("GATEWAY_PROVIDER_WORK_CLIENT_AUTH", "none"),
        ("GATEWAY_PROVIDER_WORK_AUDIENCES", "a;b"),
        (
            "GATEWAY_PROVIDER_WORK_AUTHORIZATION_PARAMETERS",
            "hd=example.org;claims={\"a\":1}",
        ),
    ];
    let loaded = Setup::with_key("", &variables).load();
    let work = &loaded.config.providers[0];
    assert!(matches!(work.client_auth, ClientAuth::None));
    assert_eq!(work.audiences, ["a", "b"]);
    assert_eq!(
        work.authorization_parameters,
        [
            ("hd".to_owned(), "example.org".to_owned()),
            ("claims".to_owned(), "{\"a\":1}".to_owned())
        ]
    );
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("is only a hint")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn p19_mistakes_in_settings_are_named_with_the_fix() {
    let issuer = "issuer = \"https://id.example.org\"\n";
    for (lines, right) in [
        (
            "issuer = \"https://id.example.org/.well-known/openid-configuration\"".to_owned(),
            "issuer: must be only the issuer's identifier, https://id.example.org, without /.well-known/",
        ),
        (
            "preset = \"cognito\"\nuser_pool = \"AbC\"".to_owned(),
            "user_pool: must be the ID of a user pool, as in eu-central-1_AbCdEfGhI",
        ),
        (
            format!("{issuer}scopes = [\"groups\"]"),
            "scopes: must contain openid, since no other scopes are requested: to add to the usual ones, \
             write [\"openid\", \"email\", \"profile\", \"groups\"]",
        ),
        (
            format!("{issuer}scopes = [\"openid email\"]"),
            "scopes: must be a scope without spaces",
        ),
        (
            format!("{issuer}prompt = \"none\""),
            "prompt: must be something other than none",
        ),
        (
            format!("{issuer}nonce = \"no\""),
            "nonce: must be required, optional or off",
        ),
        (
            format!("{issuer}tenants = [\"x\"]"),
            "tenants: has no effect unless the issuer contains {tenantid}",
        ),
        (
            format!("{issuer}authorization_parameters = {{ scope = \"x\" }}"),
            "scope is set by the gateway itself: use scopes",
        ),
        (
            format!("{issuer}authorization_parameters = {{ state = \"x\" }}"),
            "state is set by the gateway itself",
        ),
        (
            format!("{issuer}authorization_parameters = {{ redirect_uri = \"x\" }}"),
            "redirect_uri is set by the gateway itself",
        ),
        (
            format!("{issuer}authorization_parameters = {{ max_age = \"x\" }}"),
            "max_age must be a number of seconds",
        ),
        (
            format!("{issuer}authorization_parameters = {{ \"a b\" = \"x\" }}"),
            "names of parameters may only have",
        ),
        (
            format!("{issuer}icon = \"/nonexistent/logo.png\""),
            "icon: must be the name of a built-in icon, as in google, or a PNG or SVG file",
        ),
        (
            format!("{issuer}realm = \"x\""),
            "realm: has no effect without a preset that needs it",
        ),
        (
            format!("{issuer}token_url = \"https://x.example.org\""),
            "token_url: has no effect for a provider of kind oidc, only for oauth2",
        ),
        (
            format!("{issuer}client_key = \"x\""),
            "client_key: has no effect with a client secret",
        ),
        (
            format!("{issuer}client_auth = \"none\""),
            "client_secret: has no effect with client_auth = \"none\"",
        ),
        (
            "issuer = \"https://login.microsoftonline.com/{tenantid}/v2.0\"".to_owned(),
            "tenants: is missing: the issuer is a template for all tenants",
        ),
        (
            "preset = \"nobody\"".to_owned(),
            "preset: must be one of apple, auth0",
        ),
        (
            "preset = \"keycloak\"\ndomain = \"id.example.org\"".to_owned(),
            "realm: is missing: the preset keycloak needs it",
        ),
        (
            "preset = \"auth0\"\ndomain = \"https://x.auth0.com/\"".to_owned(),
            "domain: must be a host, as in id.example.org, without https://",
        ),
        (
            "preset = \"entra\"\ntenant = \"contoso.onmicrosoft.com\"".to_owned(),
            "tenant: must be a UUID",
        ),
        (
            "preset = \"zitadel\"\ndomain = \"id.example.org\"".to_owned(),
            "audiences: is missing: the preset zitadel needs it",
        ),
        (
            "kind = \"oauth2\"".to_owned(),
            "claims.subject: is missing: set it, or GATEWAY_PROVIDER_WORK_CLAIMS_SUBJECT, to the member",
        ),
        (
            "kind = \"github\"\nnonce = \"off\"".to_owned(),
            "nonce: has no effect for a provider of kind github, only for oidc",
        ),
    ] {
        let mistakes = one(&lines).mistakes().join("\n");
        assert!(mistakes.contains(right), "{lines}\n{mistakes}\nlacks: {right}");
        assert!(!mistakes.contains("client_id: is missing"), "{mistakes}");
    }
}

#[test]
fn p19_an_empty_client_id_is_rejected() {
    let lines =
        "[providers.work]\nissuer = \"https://id.example.org\"\nclient_id = \" \"\nclient_secret = \"s\"";
    let mistakes = Setup::with_key(lines, &[]).mistakes().join("\n");
    assert!(
        mistakes.contains("providers.work.client_id: is empty: set it to the id that the provider gave you"),
        "{mistakes}"
    );
}

#[test]
fn p19_a_setting_without_effect_is_rejected() {
    let issuer = "issuer = \"https://id.example.org\"\n";
    let entra = "issuer = \"https://login.microsoftonline.com/{tenantid}/v2.0\"\n\
        discovery_url = \"https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration\"\n";
    for (lines, right) in [
        (
            format!("{entra}tenants = [\"common\"]"),
            "tenants: common means several tenants, and no ID token has it as its `tid`",
        ),
        (format!("{issuer}audiences = [5]"), "audiences: must be a text"),
        (
            format!("{issuer}audiences = [\"\"]"),
            "audiences: must be an id without spaces",
        ),
        (
            format!("{issuer}client_key_alg = \"HS256\""),
            "client_key_alg: has no effect unless client_auth is private_key_jwt or apple",
        ),
        (
            "kind = \"github\"\nresponse_mode = \"form_post\"".to_owned(),
            "response_mode: has no effect for a provider of kind github",
        ),
    ] {
        let lines = format!("[providers.work]\nclient_id = \"i\"\nclient_secret = \"s\"\n{lines}");
        let mistakes = Setup::with_key(&lines, &[]).mistakes();
        assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:?}");
        assert!(mistakes[0].contains(right), "{lines}: {mistakes:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let key = write(directory.path(), "key.pem", key());
    let apple = format!(
        "[providers.apple]\npreset = \"apple\"\nclient_id = \"i\"\nteam_id = \"T\"\nclient_key_id = \"K\"\n\
         client_key_file = {key:?}\nresponse_mode = \"query\""
    );
    let mistakes = Setup::with_key(&apple, &[]).mistakes().join("\n");
    assert!(
        mistakes.contains("response_mode: must be form_post"),
        "{mistakes}"
    );
}

#[test]
fn p19_a_wrong_part_of_a_presets_issuer_is_reported_once() {
    for (lines, key) in [
        ("preset = \"okta\"\ndomain = \"https://x.okta.com/?a\"", "domain"),
        ("preset = \"okta\"", "domain"),
        ("preset = \"entra\"\ntenant = \"x y\"", "tenant"),
        ("preset = \"cognito\"\nuser_pool = \"AbC\"", "user_pool"),
    ] {
        let lines = format!("[providers.work]\nclient_id = \"i\"\nclient_secret = \"s\"\n{lines}");
        let mistakes = Setup::with_key(&lines, &[]).mistakes();
        assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:?}");
        assert!(
            mistakes[0].contains(&format!("providers.work.{key}: ")),
            "{mistakes:?}"
        );
    }
}

#[test]
fn consequences_of_a_mistake_are_not_reported() {
    for (lines, key) in [
        // A setting of another kind of provider, whose value is wrong too.
        ("issuer = \"https://id.example.org\"\nweb = \"github.com\"", "web"),
        ("preset = \"nobody\"", "preset"),
        ("preset = [\"google\"]", "preset"),
        ("issuer = [\"https://id.example.org\"]", "issuer"),
        (
            "kind = \"oauth2\"\nissuer = \"https://o.example.org\"\nauthorize_url = \"https://o.example.org/a\"\n\
             token_url = \"https://o.example.org/t\"\nuserinfo_url = \"https://o.example.org/u\"\nclaims = \"id\"",
            "claims",
        ),
    ] {
        let mistakes = one(lines).mistakes();
        assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:?}");
        assert!(
            mistakes[0].contains(&format!("providers.work.{key}: ")),
            "{mistakes:?}"
        );
    }
}

#[test]
fn p13_two_providers_cannot_share_an_issuer() {
    let oauth2 = |name: &str, userinfo: &str| {
        format!(
            "[providers.{name}]\n{CLIENT}kind = \"oauth2\"\nissuer = \"https://git.example.org\"\n\
             authorize_url = \"https://git.example.org/a\"\ntoken_url = \"https://git.example.org/t\"\n\
             userinfo_url = \"https://git.example.org/{userinfo}\"\nclaims = {{ subject = \"id\" }}\n"
        )
    };
    let oidc = format!("[providers.oidc]\n{CLIENT}issuer = \"https://git.example.org\"\n");
    for (other, shared) in [
        (oauth2("b", "user"), false),
        (oauth2("b", "other"), true),
        (oidc, true),
    ] {
        let setup = Setup::with_key(&(oauth2("a", "user") + &other), &[]);
        if shared {
            let mistakes = setup.mistakes().join("\n");
            assert!(
                mistakes.contains("is also the issuer of providers.a,"),
                "{mistakes}"
            );
        } else {
            assert_eq!(setup.load().config.providers.len(), 2);
        }
    }
}

#[test]
fn p7_vouching_for_addresses_is_warned_of() {
    let warnings = |lines: &str| one(lines).load().warnings.join("\n");
    let issuer = "issuer = \"https://id.example.org\"\n";
    assert_eq!(warnings(issuer), "");
    let assumed = warnings(&format!("{issuer}assume_email_verified = true"));
    assert!(
        assumed.contains("providers.work.assume_email_verified: addresses count as verified"),
        "{assumed}"
    );
    let both = warnings(&format!(
        "{issuer}assume_email_verified = true\ntrusted_email = true"
    ));
    assert!(both.contains("sign in as an existing user"), "{both}");
    let many = warnings(
        "preset = \"entra-tenants\"\ntenants = [\"0a0a0a0a-0000-4000-8000-0000000000aa\", \
         \"0b0b0b0b-0000-4000-8000-0000000000bb\"]\nassume_email_verified = true",
    );
    assert!(
        many.contains("every administrator of one of its tenants"),
        "{many}"
    );
}

#[test]
fn p8_tenants_are_compared_as_entra_writes_them() {
    let loaded = loaded("preset = \"entra-tenants\"\ntenants = [\"0A0A0A0A-0000-4000-8000-0000000000AA\"]\n");
    assert_eq!(loaded.tenants, ["0a0a0a0a-0000-4000-8000-0000000000aa"]);
    assert_eq!(
        loaded.kind.issuer(),
        "https://login.microsoftonline.com/{tenantid}/v2.0"
    );
    assert_eq!(
        loaded.discovery.unwrap().as_str(),
        "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
    );
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn p10_keys_are_read_from_files_and_unusable_ones_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "key.pem", key());
    let bad = write(directory.path(), "bad.pem", "canary");
    let setup = |lines: String| {
        let toml =
            format!("[providers.work]\nclient_id = \"id\"\nissuer = \"https://id.example.org\"\n{lines}");
        Setup::with_key(&toml, &[])
    };
    let lines = format!(
        "client_auth = \"private_key_jwt\"\nclient_key_file = {good:?}\nclient_key_id = \"k\"\n\
         client_assertion_audience = \"issuer\""
    );
    let loaded = setup(lines).load();
    assert!(matches!(
        &loaded.config.providers[0].client_auth,
        ClientAuth::PrivateKey {
            audience: Audience::Issuer,
            ..
        }
    ));
    for (lines, right) in [
        (
            format!("client_auth = \"private_key_jwt\"\nclient_key_file = {bad:?}"),
            "client_key: cannot be used: it contains no private key",
        ),
        (
            format!(
                "client_auth = \"private_key_jwt\"\nclient_key_file = {good:?}\nclient_key_alg = \"RS256\""
            ),
            "client_key: cannot be used: it cannot sign with RS256",
        ),
        (
            "client_auth = \"private_key_jwt\"".to_owned(),
            "client_key: is missing: set client_key_file, or GATEWAY_PROVIDER_WORK_CLIENT_KEY",
        ),
        (
            format!("client_auth = \"apple\"\nclient_key_file = {good:?}"),
            "team_id: is missing: set it, or GATEWAY_PROVIDER_WORK_TEAM_ID, to the ID of the team",
        ),
        (
            "client_auth = \"basic\"".to_owned(),
            "client_secret: is missing: set it, or client_secret_file, or GATEWAY_PROVIDER_WORK_CLIENT_SECRET",
        ),
    ] {
        let mistakes = setup(lines.clone()).mistakes().join("\n");
        assert!(
            mistakes.contains(right) && !mistakes.contains("canary"),
            "{lines}\n{mistakes}"
        );
    }
}

#[test]
fn p13_github_is_a_kind_and_a_preset() {
    let loaded = loaded("preset = \"github\"\nweb = \"https://git.example.org\"");
    let ProviderKind::GitHub { api, .. } = &loaded.kind else {
        panic!("{:?}", loaded.kind)
    };
    assert_eq!(api.as_str(), "https://git.example.org/api/v3");
    assert_eq!(loaded.scopes, ["read:user", "user:email"]);
}
