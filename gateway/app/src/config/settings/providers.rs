//! Upstream providers. Their settings are in groups, each with its own table in the documentation.

use gateway_upstream::{Audience, Member, NonceRule, Par, ResponseMode, SignOut, Userinfo};

use crate::config::field::{List, Pairs, Secret, section};
use crate::config::sources::Origin;
use crate::config::value::{
    ClientAuthMethod, EndpointUrl, Id, Issuer, PresetName, Prompt, Protocol, ScopeToken, Shown, UpstreamUrl,
};

section! {
    /// An upstream provider that users sign in with.
    pub(in crate::config) struct Provider(cx) "providers.NAME" {
        /// A well-known provider, whose settings are the defaults for all other keys: `apple`, `auth0`, `authelia`,
        /// `authentik`, `cognito`, `discord`, `entra`, `entra-tenants`, `facebook`, `forgejo`, `gitea`, `github`, `gitlab`,
        /// `google`, `kanidm`, `keycloak`, `linkedin`, `okta`, `slack`, `twitch`, `zitadel`.
        preset: Option<(PresetName, Origin)> => "`google` and `github` for sections with those names",
            "GATEWAY_PROVIDER_NAME_PRESET";
        /// For presets that need it: the host of the provider, as in `id.example.org`.
        domain: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_DOMAIN";
        /// For `entra`: the directory (tenant) ID.
        tenant: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_TENANT";
        /// For `keycloak`: the name of the realm.
        realm: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_REALM";
        /// For `authentik`: the slug of the application.
        application: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_APPLICATION";
        /// For `cognito`: the ID of the user pool.
        user_pool: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_USER_POOL";
        /// The gateway's client id at the provider. The variables `GOOGLE_KEY` and `GITHUB_KEY` set it for those two.
        client_id: Option<(String, Origin)> => "required", "GATEWAY_PROVIDER_NAME_CLIENT_ID";
    }
}

section! {
    /// Which protocol a provider speaks, and where it is.
    pub(in crate::config) struct ProviderPlaces(cx) "providers.NAME" {
        /// The protocol: `oidc` (OpenID Connect), `oauth2` or `github`.
        kind: Protocol = if cx.provider == "github" { Protocol::GitHub } else { Protocol::Oidc }
            => "`oidc`, but `github` for a section with that name", "GATEWAY_PROVIDER_NAME_KIND";
        /// For `oidc`, the issuer's exact identifier, without `/.well-known/openid-configuration`. A `{tenantid}` in its path
        /// makes it a template for several tenants, as Entra ID publishes it. The gateway then replaces it with the ID token's
        /// `tid`, compares the result with the token's `iss`, and accepts the token only if `tenants` lists the `tid`. Users
        /// are stored under their own tenant's issuer. For `oauth2`, an https URL of your choice that identifies the
        /// provider. The gateway stores it with every user who signs in, so never change it.
        issuer: Option<(Issuer, Origin)> => "required", "GATEWAY_PROVIDER_NAME_ISSUER", { only: &["oidc", "oauth2"] };
        /// The address of the provider's metadata.
        discovery_url: Option<(EndpointUrl, Origin)> => "`/.well-known/openid-configuration` below the issuer",
            "GATEWAY_PROVIDER_NAME_DISCOVERY_URL", { only: &["oidc"] };
        /// The address of GitHub Enterprise Server.
        web: Option<(UpstreamUrl, Origin)> => "`https://github.com`", "GATEWAY_PROVIDER_NAME_WEB", { only: &["github"] };
        /// The address of its API.
        api: Option<(UpstreamUrl, Origin)> => "`https://api.github.com`, or `/api/v3` of another `web`",
            "GATEWAY_PROVIDER_NAME_API", { only: &["github"] };
        /// The provider's authorization endpoint.
        authorize_url: Option<(EndpointUrl, Origin)> => "required", "GATEWAY_PROVIDER_NAME_AUTHORIZE_URL",
            { only: &["oauth2"] };
        /// Its token endpoint.
        token_url: Option<(EndpointUrl, Origin)> => "required", "GATEWAY_PROVIDER_NAME_TOKEN_URL", { only: &["oauth2"] };
        /// The address at which the provider says who an access token belongs to.
        userinfo_url: Option<(EndpointUrl, Origin)> => "required", "GATEWAY_PROVIDER_NAME_USERINFO_URL",
            { only: &["oauth2"] };
        /// Set this to `true` for a provider on your own network.
        allow_private_addresses: bool = false, "GATEWAY_PROVIDER_NAME_ALLOW_PRIVATE_ADDRESSES";
    }
}

section! {
    /// [Where each value is](providers.md#any-oauth-20-provider) in the response of `userinfo_url`.
    pub(in crate::config) struct Claims(cx) "providers.NAME.claims" {
        /// The provider's permanent identifier of a user, a text or a whole number.
        subject: Option<(Member, Origin)> => "required", "GATEWAY_PROVIDER_NAME_CLAIMS_SUBJECT", { only: &["oauth2"] };
        /// The email address.
        email: Option<Member>, "GATEWAY_PROVIDER_NAME_CLAIMS_EMAIL", { only: &["oauth2"] };
        /// Whether the provider has verified the address.
        email_verified: Option<Member>, "GATEWAY_PROVIDER_NAME_CLAIMS_EMAIL_VERIFIED", { only: &["oauth2"] };
        /// The display name.
        name: Option<Member>, "GATEWAY_PROVIDER_NAME_CLAIMS_NAME", { only: &["oauth2"] };
        /// The URL of a picture.
        picture: Option<Member>, "GATEWAY_PROVIDER_NAME_CLAIMS_PICTURE", { only: &["oauth2"] };
    }
}

section! {
    /// The gateway's trust in a provider.
    pub(in crate::config) struct ProviderTrust(cx) "providers.NAME" {
        /// Whether the provider's verified addresses may link to an existing user without an identity of this issuer, and make
        /// ids with `email-md5`.
        trusted_email: Option<bool> => "`true` for Google and GitHub themselves, otherwise `false`",
            "GATEWAY_PROVIDER_NAME_TRUSTED_EMAIL";
        /// Whether an address counts as verified if the provider does not say whether it is, or says `"true"` as text. If the
        /// provider says `false`, the address does not count. `config check` warns about this setting.
        assume_email_verified: Option<(bool, Origin)> => "`false`", "GATEWAY_PROVIDER_NAME_ASSUME_EMAIL_VERIFIED";
        /// A list of other audiences that ID tokens may have (OpenID Connect Core 1.0, 3.1.3.7). A token with one of them must
        /// name the gateway's client in `azp`.
        audiences: Option<List<Id>>, "GATEWAY_PROVIDER_NAME_AUDIENCES", { only: &["oidc"] };
        /// For an issuer with `{tenantid}`: a list of the tenants whose users may sign in.
        tenants: Option<List<Id>> => "required for such an issuer", "GATEWAY_PROVIDER_NAME_TENANTS", { only: &["oidc"] };
        /// Whether an ID token must repeat the nonce of its sign-in: `required`, `optional` (a wrong one is rejected) or `off`
        /// (none is sent).
        nonce: NonceRule = NonceRule::Required, "GATEWAY_PROVIDER_NAME_NONCE", { only: &["oidc"] };
        /// When to call the userinfo endpoint: `auto` (when it may add something), `always`, `never`, or `required` (a failure
        /// ends the sign-in).
        userinfo: Userinfo = Userinfo::Auto, "GATEWAY_PROVIDER_NAME_USERINFO", { only: &["oidc"] };
    }
}

section! {
    /// Parameters of the authorization request.
    pub(in crate::config) struct ProviderRequests(cx) "providers.NAME" {
        /// The full list of scopes, replacing the defaults.
        scopes: Option<List<ScopeToken>> =>
            "`openid email profile` for `oidc`, `read:user user:email` for `github`, none for `oauth2`",
            "GATEWAY_PROVIDER_NAME_SCOPES";
        /// The value of `prompt` at every sign-in, as in `select_account` or `login consent`. For a single sign-in, an
        /// application may request `select_account` or `login`: `/auth/login/NAME?prompt=…`.
        prompt: Option<String> as Option<Prompt>, "GATEWAY_PROVIDER_NAME_PROMPT";
        /// A table of additional parameters of the authorization request, as in `{ acr_values = "mfa", domain_hint =
        /// "example.org" }`. In a variable, write `name=value` pairs with semicolons between them. Parameters that the gateway
        /// sets itself are rejected. With `max_age`, ID tokens must have a matching `auth_time`.
        authorization_parameters: Pairs, "GATEWAY_PROVIDER_NAME_AUTHORIZATION_PARAMETERS";
        /// How the provider answers: `query`, or `form_post` for a POST.
        response_mode: ResponseMode = ResponseMode::Query, "GATEWAY_PROVIDER_NAME_RESPONSE_MODE",
            { only: &["oidc", "oauth2"] };
        /// Whether the authorization request is pushed (RFC 9126): `auto` (if the provider requires it), `always` or `never`.
        par: Par = Par::Auto, "GATEWAY_PROVIDER_NAME_PAR", { only: &["oidc"] };
    }
}

section! {
    /// How the gateway authenticates itself to a provider.
    pub(in crate::config) struct ProviderClient(cx) "providers.NAME" {
        /// `auto` (the secret, sent as the provider's metadata says), `basic`, `post`, `private_key_jwt`, `apple` (a secret
        /// that the gateway signs for each request), or `none` (a public client).
        client_auth: ClientAuthMethod = ClientAuthMethod::Auto, "GATEWAY_PROVIDER_NAME_CLIENT_AUTH";
        /// The client secret. The variables `GOOGLE_SECRET` and `GITHUB_SECRET` set it for those two, and with `_FILE` they name
        /// a file that contains it.
        client_secret: Option<Secret> => "required by `auto`, `basic` and `post`", "GATEWAY_PROVIDER_NAME_CLIENT_SECRET";
        /// For `private_key_jwt` and `apple`: the private key, PEM text with an RSA, P-256, P-384 or Ed25519 key in PKCS#8
        /// form. If the same text contains a certificate, `x5t#S256` names it.
        client_key: Option<Secret>, "GATEWAY_PROVIDER_NAME_CLIENT_KEY";
        /// The provider's id of that key (`kid`).
        client_key_id: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_CLIENT_KEY_ID";
        /// `RS256` to `RS512`, `PS256` to `PS512`, `ES256`, `ES384` or `EdDSA`.
        client_key_alg: Option<(String, Origin)> => "by the key's type", "GATEWAY_PROVIDER_NAME_CLIENT_KEY_ALG";
        /// The audience of client assertions: `token_endpoint` or `issuer`.
        client_assertion_audience: Option<(Audience, Origin)> => "`token_endpoint`",
            "GATEWAY_PROVIDER_NAME_CLIENT_ASSERTION_AUDIENCE", { only: &["oidc"] };
        /// For `apple`: the team that the key belongs to.
        team_id: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_TEAM_ID";
    }
}

section! {
    /// The provider on the gateway's pages.
    pub(in crate::config) struct ProviderPages(cx) "providers.NAME" {
        /// For `oidc`: `local`, or `provider` to [sign users out at the provider
        /// too](operations.md#signing-out-at-the-provider).
        sign_out: SignOut = SignOut::Local, "GATEWAY_PROVIDER_NAME_SIGN_OUT";
        /// The provider's name on pages, up to 64 characters.
        display_name: Option<String> as Option<Shown>, "GATEWAY_PROVIDER_NAME_DISPLAY_NAME";
        /// The name of a built-in icon, as in `google`, or a PNG or SVG file of up to 64 KiB.
        icon: Option<(String, Origin)>, "GATEWAY_PROVIDER_NAME_ICON";
    }
}
