//! The providers of the presets, with the special rules that their documentation states.

use serde_json::{Value, json};

use super::fake::{CLIENT_ID, Kind, TENANT, Way};

/// A standard provider, whose ID tokens have all claims.
const PLAIN: Kind = Kind {
    preset: "",
    path: "",
    hosts: &[],
    needs: "",
    lines: "",
    way: Way::Either,
    scopes: &["openid", "email", "profile"],
    nonce: true,
    form_post: false,
    id_token: Some(ann),
    userinfo: None,
    tokens: || json!({ "scope": "openid email profile" }),
    discovery: || json!({ "code_challenge_methods_supported": ["S256"] }),
    refuses_with_200: false,
    par: false,
    elliptic: false,
    subject: "ann-1",
    name: "Ann Lee",
    email: Some("ann@example.org"),
    picture: None,
};

fn ann() -> Value {
    json!({ "name": "Ann Lee", "email": "ann@example.org", "email_verified": true })
}

/// Every preset but GitHub, which has its own fake.
pub(crate) fn kinds() -> Vec<Kind> {
    vec![
        // developer.apple.com, "Sign in with Apple REST API".
        Kind {
            preset: "apple",
            hosts: &["appleid.apple.com"],
            lines: "team_id = \"TEAM123456\"\nclient_key_id = \"KEY1234567\"\nclient_key_file = \"apple.p8\"",
            way: Way::Apple,
            scopes: &["openid", "email", "name"],
            form_post: true,
            // No name, and strings for booleans.
            id_token: Some(|| {
                json!({
                    "email": "ann@example.org", "email_verified": "true", "is_private_email": "false",
                    "nonce_supported": true, "auth_time": 1,
                })
            }),
            tokens: || json!({ "refresh_token": "r" }),
            discovery: || {
                json!({
                    "response_modes_supported": ["query", "fragment", "form_post"],
                    "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "is_private_email", "iss", "nonce", "sub"],
                })
            },
            ..PLAIN
        },
        // auth0.com/docs: the issuer ends with a slash.
        Kind {
            preset: "auth0",
            hosts: &["example.eu.auth0.com"],
            needs: "domain = \"example.eu.auth0.com\"",
            path: "/",
            discovery: || json!({ "device_authorization_endpoint": "https://x.example.org/oauth/device/code" }),
            ..PLAIN
        },
        // authelia.com, "OpenID Connect 1.0 claims": since 4.39 ID tokens have hardly any claims.
        Kind {
            preset: "authelia",
            hosts: &["authelia.example.net"],
            needs: "domain = \"authelia.example.net\"",
            way: Way::Basic,
            id_token: Some(
                || json!({ "amr": ["pwd", "otp"], "azp": CLIENT_ID, "at_hash": null, "jti": "x" }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                all["sub"] = "ann-1".into();
                all["groups"] = json!(["admins"]);
                all
            }),
            discovery: || {
                json!({
                    "code_challenge_methods_supported": ["S256"],
                    "pushed_authorization_request_endpoint": "https://x.example.org/api/oidc/pushed-authorization-request",
                    "require_pushed_authorization_requests": false,
                })
            },
            ..PLAIN
        },
        // docs.goauthentik.io: the issuer contains the application's slug, and ends with a slash.
        Kind {
            preset: "authentik",
            hosts: &["authentik.example.net"],
            needs: "domain = \"authentik.example.net\"\napplication = \"gateway\"",
            path: "/application/o/gateway/",
            ..PLAIN
        },
        // docs.aws.amazon.com/cognito: userinfo has strings for booleans.
        Kind {
            preset: "cognito",
            hosts: &["cognito-idp.eu-central-1.amazonaws.com"],
            needs: "user_pool = \"eu-central-1_AbCdEfGhI\"",
            path: "/eu-central-1_AbCdEfGhI",
            id_token: Some(|| {
                json!({
                    "cognito:username": "ann", "email": "ann@example.org", "email_verified": true, "token_use": "id",
                    "event_id": "x", "auth_time": 1,
                })
            }),
            userinfo: Some(
                || json!({ "sub": "ann-1", "email": "ann@example.org", "email_verified": "true", "name": "Ann Lee", "username": "ann" }),
            ),
            discovery: || json!({ "scopes_supported": ["openid", "email", "phone", "profile"] }),
            ..PLAIN
        },
        // discord.com/developers/docs, OAuth2 and "User Object".
        Kind {
            preset: "discord",
            hosts: &["discord.com"],
            scopes: &["identify", "email"],
            id_token: None,
            userinfo: Some(|| {
                json!({
                    "id": "80351110224678912", "username": "ann", "discriminator": "0", "global_name": "Ann Lee",
                    "avatar": "8342729096ea3675442027381ff50dfe", "verified": true, "email": "ann@example.org", "flags": 64,
                    "banner": null, "mfa_enabled": true, "locale": "en-GB",
                })
            }),
            tokens: || json!({ "expires_in": 604800, "scope": "identify email" }),
            subject: "80351110224678912",
            picture: Some(
                "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png",
            ),
            ..PLAIN
        },
        // learn.microsoft.com, "OpenID Connect on the Microsoft identity platform": no claim says whether addresses are
        // verified.
        Kind {
            preset: "entra",
            hosts: &["login.microsoftonline.com"],
            needs: "tenant = \"0a0a0a0a-0000-4000-8000-0000000000aa\"",
            path: "/0a0a0a0a-0000-4000-8000-0000000000aa/v2.0",
            id_token: Some(|| {
                json!({
                    "name": "Ann Lee", "email": "ann@example.org", "preferred_username": "ann@example.org", "tid": TENANT,
                    "oid": "1", "ver": "2.0", "uti": "x", "rh": "y",
                })
            }),
            userinfo: Some(
                || json!({ "sub": "ann-1", "name": "Ann Lee", "picture": "https://graph.microsoft.com/v1.0/me/photo/$value" }),
            ),
            discovery: || {
                json!({
                    "response_modes_supported": ["query", "fragment", "form_post"], "http_logout_supported": true,
                    "tenant_region_scope": "EU", "cloud_instance_name": "microsoftonline.com", "rbac_url": "https://pas.windows.net",
                    "scopes_supported": ["openid", "profile", "email", "offline_access"],
                    "token_endpoint_auth_methods_supported":
                        ["client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"],
                })
            },
            email: None,
            ..PLAIN
        },
        // The same for many tenants: the issuer in the discovery document is a template.
        Kind {
            preset: "entra-tenants",
            hosts: &["login.microsoftonline.com"],
            path: "/{tenantid}/v2.0",
            lines: "tenants = [\"11111111-0000-4000-8000-000000000000\", \"0A0A0A0A-0000-4000-8000-0000000000AA\"]",
            id_token: Some(
                || json!({ "name": "Ann Lee", "email": "ann@example.org", "tid": TENANT, "ver": "2.0" }),
            ),
            email: None,
            ..PLAIN
        },
        // developers.facebook.com, "Manually Build a Login Flow": a nested picture, and no claim about verification.
        Kind {
            preset: "facebook",
            hosts: &["www.facebook.com", "graph.facebook.com"],
            way: Way::Post,
            scopes: &["public_profile", "email"],
            id_token: None,
            userinfo: Some(|| {
                json!({
                    "id": "10158", "name": "Ann Lee", "email": "ann@example.org",
                    "picture": {"data": {"height": 50, "is_silhouette": false, "url": "https://platform-lookaside.fbsbx.com/p?asid=10158", "width": 50}},
                })
            }),
            tokens: || json!({ "token_type": "bearer", "expires_in": 5183944 }),
            subject: "10158",
            email: None,
            picture: Some("https://platform-lookaside.fbsbx.com/p?asid=10158"),
            ..PLAIN
        },
        Kind {
            preset: "forgejo",
            hosts: &["codeberg.org"],
            needs: "domain = \"codeberg.org\"",
            id_token: Some(gitea),
            ..PLAIN
        },
        // docs.gitea.com, "OAuth2 Provider".
        Kind {
            preset: "gitea",
            hosts: &["gitea.example.net"],
            needs: "domain = \"gitea.example.net\"",
            id_token: Some(gitea),
            ..PLAIN
        },
        // docs.gitlab.com, "GitLab as OpenID Connect identity provider".
        Kind {
            preset: "gitlab",
            hosts: &["gitlab.com"],
            id_token: Some(
                || json!({ "sub_legacy": "x", "name": "Ann Lee", "nickname": "ann", "preferred_username": "ann", "auth_time": 1 }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "sub": "ann-1", "groups": ["g"], "profile": "https://gitlab.com/ann", "website": "" }),
                );
                all
            }),
            tokens: || json!({ "created_at": 1_607_635_748, "refresh_token": "r", "expires_in": 7200 }),
            ..PLAIN
        },
        // developers.google.com/identity/openid-connect.
        Kind {
            preset: "google",
            hosts: &["accounts.google.com"],
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "azp": CLIENT_ID, "hd": "example.org", "given_name": "Ann" }),
                );
                all
            }),
            tokens: || json!({ "scope": "openid https://www.googleapis.com/auth/userinfo.email" }),
            ..PLAIN
        },
        // kanidm.github.io: ES256, and the client's id in the issuer.
        Kind {
            preset: "kanidm",
            hosts: &["idm.example.net"],
            needs: "domain = \"idm.example.net\"",
            path: "/oauth2/openid/canary-client",
            elliptic: true,
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "azp": CLIENT_ID, "amr": null, "scopes": ["openid", "profile", "email"] }),
                );
                all
            }),
            ..PLAIN
        },
        // www.keycloak.org: with its usual mapper, `account` is an audience as well.
        Kind {
            preset: "keycloak",
            hosts: &["keycloak.example.net"],
            needs: "domain = \"keycloak.example.net\"\nrealm = \"main\"",
            path: "/realms/main",
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "aud": [CLIENT_ID, "account"], "azp": CLIENT_ID, "acr": "1", "typ": "ID", "session_state": "x" }),
                );
                all
            }),
            tokens: || json!({ "not-before-policy": 0, "refresh_expires_in": 1800, "session_state": "x" }),
            ..PLAIN
        },
        // learn.microsoft.com/linkedin, "Sign In with LinkedIn using OpenID Connect": no nonce, a string for a boolean.
        Kind {
            preset: "linkedin",
            hosts: &["www.linkedin.com"],
            path: "/oauth",
            way: Way::Post,
            nonce: false,
            id_token: Some(
                || json!({ "name": "Ann Lee", "email": "ann@example.org", "email_verified": "true", "locale": "en_US" }),
            ),
            userinfo: Some(|| {
                json!({
                    "sub": "ann-1", "name": "Ann Lee", "email": "ann@example.org", "email_verified": true,
                    "locale": {"country": "US", "language": "en"},
                })
            }),
            discovery: || json!({ "subject_types_supported": ["pairwise"], "scopes_supported": ["openid", "profile", "email"] }),
            email: None,
            ..PLAIN
        },
        // developer.okta.com: ID tokens that come with an access token have few claims.
        Kind {
            preset: "okta",
            hosts: &["example.okta.com"],
            needs: "domain = \"example.okta.com\"",
            id_token: Some(
                || json!({ "name": "Ann Lee", "preferred_username": "ann@example.org", "ver": 1, "jti": "x", "amr": ["pwd"] }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "sub": "ann-1", "zoneinfo": "America/Los_Angeles", "updated_at": 1 }),
                );
                all
            }),
            ..PLAIN
        },
        // api.slack.com/authentication/sign-in-with-slack: status 200 for everything, `ok` in every answer.
        Kind {
            preset: "slack",
            hosts: &["slack.com"],
            way: Way::Post,
            refuses_with_200: true,
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "https://slack.com/user_id": "U1", "https://slack.com/team_id": "T1", "date_email_verified": 1 }),
                );
                all
            }),
            tokens: || json!({ "ok": true, "token_type": "Bearer", "state": "" }),
            discovery: || json!({ "response_modes_supported": ["form_post"], "claims_parameter_supported": false }),
            ..PLAIN
        },
        // dev.twitch.tv/docs/authentication/getting-tokens-oidc: scopes are a list, claims come on request.
        Kind {
            preset: "twitch",
            hosts: &["id.twitch.tv"],
            path: "/oauth2",
            way: Way::Post,
            scopes: &["openid", "user:read:email"],
            id_token: Some(|| {
                json!({
                    "azp": CLIENT_ID, "email": "ann@example.org", "email_verified": true, "preferred_username": "Ann Lee",
                    "picture": "https://static-cdn.jtvnw.net/p/ann.png",
                })
            }),
            tokens: || json!({ "scope": ["openid", "user:read:email"], "expires_in": 14_124, "token_type": "bearer" }),
            picture: Some("https://static-cdn.jtvnw.net/p/ann.png"),
            ..PLAIN
        },
        // zitadel.com/docs: all applications of the project, and the project, are audiences.
        Kind {
            preset: "zitadel",
            hosts: &["example.zitadel.cloud"],
            needs: "domain = \"example.zitadel.cloud\"",
            lines: "audiences = [\"251237591122837505\", \"251237591122837506@project\"]",
            id_token: Some(|| {
                json!({
                    "aud": [CLIENT_ID, "251237591122837506@project", "251237591122837505"], "azp": CLIENT_ID,
                    "client_id": CLIENT_ID, "amr": ["pwd"],
                })
            }),
            userinfo: Some(|| {
                let mut all = ann();
                merge(&mut all, json!({ "sub": "ann-1", "updated_at": 1_700_000_000 }));
                all
            }),
            ..PLAIN
        },
    ]
}

fn gitea() -> Value {
    json!({
        "name": "Ann Lee", "preferred_username": "ann", "email": "ann@example.org", "email_verified": true,
        "groups": ["org:team"], "profile": "https://git.example.org/ann", "website": "", "locale": "en-US", "updated_at": 1,
    })
}

fn merge(base: &mut Value, mut more: Value) {
    base.as_object_mut()
        .unwrap()
        .append(more.as_object_mut().unwrap());
}

pub(crate) fn one(preset: &str) -> Kind {
    kinds().into_iter().find(|kind| kind.preset == preset).unwrap()
}
