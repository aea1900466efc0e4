//! A certified provider in every configuration that a client may meet: the user is signed in, or the log says what to
//! change.

use std::fmt::Write as _;

use gateway_token::{Algorithm, SigningKeys, generate_key};
use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use support::browser::{location, token_in};
use support::openid_provider::{CLIENT_ID, CLIENT_SECRET, Matrix, Person};
use support::setup::EXTERNAL;
use support::{Gateway, Setup};

/// How a sign-in ends.
#[derive(Clone, Debug)]
enum Ends {
    /// The user is signed in, with a name and an address.
    SignedIn,
    /// The user is signed in, without a name and an address.
    Nameless,
    /// The user is not signed in, and the log contains this.
    Refused(&'static str),
}

/// A provider, and its section of the gateway's configuration.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    path: String,
    client: Value,
    options: Value,
    features: Value,
    jwks: Value,
    table: String,
    has_secret: bool,
    ends: Ends,
}

fn case(name: &str) -> Case {
    Case {
        name: name.to_owned(),
        path: format!("/{name}"),
        client: json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET }),
        options: json!({}),
        features: json!({}),
        jwks: json!(["RS256"]),
        table: String::new(),
        has_secret: true,
        ends: Ends::SignedIn,
    }
}

fn merge(into: &mut Value, more: &Value) {
    let more = more.as_object().unwrap().clone();
    into.as_object_mut().unwrap().extend(more);
}

impl Case {
    fn client(mut self, more: &Value) -> Self {
        merge(&mut self.client, more);
        self
    }

    fn options(mut self, more: &Value) -> Self {
        merge(&mut self.options, more);
        self
    }

    fn features(mut self, more: &Value) -> Self {
        merge(&mut self.features, more);
        self
    }

    fn signed(mut self, algorithm: &str) -> Self {
        self.jwks = json!([algorithm]);
        self.client(&json!({ "id_token_signed_response_alg": algorithm }))
    }

    /// Name and address are at the userinfo endpoint only.
    fn userinfo(self) -> Self {
        self.options(&json!({ "conformIdTokenClaims": true }))
    }

    fn keys(mut self, names: &[&str]) -> Self {
        self.jwks = json!(names);
        self
    }

    fn set(mut self, line: &str) -> Self {
        let _ = writeln!(self.table, "{line}");
        self
    }

    fn without_secret(mut self) -> Self {
        self.has_secret = false;
        self.client.as_object_mut().unwrap().remove("client_secret");
        self
    }

    fn ends(mut self, ends: Ends) -> Self {
        self.ends = ends;
        self
    }

    fn callback(&self) -> String {
        format!("{EXTERNAL}auth/oauth_callback/{}", self.name)
    }

    fn for_node(&self) -> Value {
        let mut client = self.client.clone();
        client["redirect_uris"] = json!([self.callback()]);
        json!({
            "path": self.path, "client": client, "options": self.options, "features": self.features, "jwks": self.jwks,
        })
    }
}

/// The algorithms of ID tokens.
fn algorithms() -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
    ] {
        let name = algorithm.to_lowercase();
        cases.push(case(&name).signed(algorithm));
        if matches!(algorithm, "PS256" | "ES512" | "EdDSA") {
            cases.push(case(&format!("{name}-userinfo")).signed(algorithm).userinfo());
        }
    }
    cases.push(
        case("hs256")
            .client(&json!({ "id_token_signed_response_alg": "HS256" }))
            .ends(Ends::Refused(
                "the gateway does not support its algorithm (HS256)",
            )),
    );
    cases.push(case("many-keys").keys(&["ES256", "RS256", "PS256", "EdDSA", "ES512", "RS384"]));
    cases
}

/// Where the claims are, and how they are signed or encoded.
fn claims() -> Vec<Case> {
    let jwt = |algorithm: &str| {
        case(&format!("userinfo-jwt-{}", algorithm.to_lowercase()))
            .userinfo()
            .keys(&["RS256", algorithm])
            .features(&json!({ "jwtUserinfo": { "enabled": true } }))
            .client(&json!({ "userinfo_signed_response_alg": algorithm }))
    };
    let encrypted = json!({ "keys": [{
        "kty": "RSA", "use": "enc", "e": "AQAB", "kid": "e",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }] });
    let encrypting = json!({ "encryption": { "enabled": true }, "jwtUserinfo": { "enabled": true } });
    let claim = r#"authorization_parameters = { claims = '{"id_token":{"name":null,"email":null,"email_verified":null}}' }"#;
    let no_userinfo = json!({ "userinfo": { "enabled": false } });
    vec![
        case("userinfo").userinfo(),
        jwt("RS256"),
        jwt("PS256"),
        jwt("ES256"),
        jwt("ES512"),
        jwt("EdDSA"),
        case("userinfo-jwt-hs256")
            .userinfo()
            .features(&json!({ "jwtUserinfo": { "enabled": true } }))
            .client(&json!({ "userinfo_signed_response_alg": "HS256" }))
            .ends(Ends::Nameless),
        case("userinfo-encrypted")
            .userinfo()
            .features(&encrypting)
            .client(&json!({
                "jwks": encrypted, "userinfo_signed_response_alg": "RS256", "userinfo_encrypted_response_alg": "RSA-OAEP",
                "userinfo_encrypted_response_enc": "A128CBC-HS256",
            }))
            .ends(Ends::Nameless),
        case("id-token-encrypted")
            .features(&encrypting)
            .client(&json!({
                "jwks": encrypted, "id_token_encrypted_response_alg": "RSA-OAEP",
                "id_token_encrypted_response_enc": "A128CBC-HS256",
            }))
            .ends(Ends::Refused("it is encrypted")),
        case("claims-parameter")
            .userinfo()
            .features(&json!({ "claimsParameter": { "enabled": true } }))
            .set(claim)
            .set("userinfo = \"never\""),
        case("userinfo-never")
            .userinfo()
            .set("userinfo = \"never\"")
            .ends(Ends::Nameless),
        case("userinfo-always").set("userinfo = \"always\""),
        case("userinfo-required")
            .userinfo()
            .set("userinfo = \"required\""),
        case("no-userinfo").features(&no_userinfo),
        case("no-userinfo-required")
            .features(&no_userinfo)
            .set("userinfo = \"required\"")
            .ends(Ends::Refused("userinfo = \\\"required\\\"")),
        case("scope-openid")
            .set("scopes = [\"openid\"]")
            .ends(Ends::Nameless),
        case("pairwise")
            .options(&json!({ "subjectTypes": ["public", "pairwise"] }))
            .client(&json!({ "subject_type": "pairwise" })),
        case("auth-time").client(&json!({ "require_auth_time": true, "default_max_age": 3600 })),
        case("acr").set("authorization_parameters = { acr_values = \"gold\" }"),
    ]
}

/// How the gateway authenticates.
fn clients(directory: &std::path::Path) -> Vec<Case> {
    let with_key = |name: &str, algorithm: Algorithm, used: &str| {
        let (private, _) = generate_key(algorithm).unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, private.expose_secret()).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let keys = SigningKeys::from_pems(std::slice::from_ref(&private), &[]).unwrap();
        let mut jwks: Value = serde_json::from_str(keys.jwks()).unwrap();
        jwks["keys"][0]["alg"] = json!(used);
        case(name)
            .without_secret()
            .client(&json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks }))
            .set("client_auth = \"private_key_jwt\"")
            .set(&format!("client_key_file = {file:?}"))
            .set(&format!("client_key_id = {:?}", keys.kid()))
    };
    let method =
        |name: &str, method: &str| case(name).client(&json!({ "token_endpoint_auth_method": method }));
    let par = json!({ "pushedAuthorizationRequests": { "enabled": true, "requirePushedAuthorizationRequests": true } });
    vec![
        method("basic", "client_secret_basic"),
        method("post", "client_secret_post").set("client_auth = \"post\""),
        // This provider accepts a secret in either place.
        method("post-unset", "client_secret_post"),
        method("basic-forced", "client_secret_basic").set("client_auth = \"basic\""),
        method("secret-jwt", "client_secret_jwt").ends(Ends::Refused("client_auth")),
        method("public", "none")
            .without_secret()
            .set("client_auth = \"none\""),
        with_key("key-es256", Algorithm::ES256, "ES256"),
        with_key("key-rs256", Algorithm::RS256, "RS256"),
        with_key("key-eddsa", Algorithm::EdDSA, "EdDSA"),
        case("wrong-secret")
            .client(&json!({ "client_secret": "another-secret-of-enough-length" }))
            .ends(Ends::Refused("client_secret")),
        case("par").features(&par),
        case("par-always").set("par = \"always\""),
        case("par-never")
            .features(&par)
            .set("par = \"never\"")
            .ends(Ends::Refused("Pushed Authorization Request")),
        with_key("par-key", Algorithm::ES256, "ES256").features(&par),
        method("par-public", "none")
            .without_secret()
            .set("client_auth = \"none\"")
            .features(&par),
        case("dpop")
            .client(&json!({ "dpop_bound_access_tokens": true }))
            .ends(Ends::Refused("grant request is invalid")),
    ]
}

/// Parameters of the requests and answers that pass through the browser.
fn requests() -> Vec<Case> {
    let mut slash = case("slash");
    slash.path = "/slash/".to_owned();
    let mut deep = case("deep");
    deep.path = "/realms/a.b/protocol%20x/v2.0".to_owned();
    let mut wrong_slash = case("wrong-slash").ends(Ends::Refused("both must be identical"));
    wrong_slash.path = "/wrong-slash/".to_owned();
    vec![
        case("form-post").set("response_mode = \"form_post\""),
        case("form-post-userinfo").userinfo().set("response_mode = \"form_post\"").features(&json!({
            "pushedAuthorizationRequests": { "enabled": true, "requirePushedAuthorizationRequests": true },
        })),
        case("prompt-login").set("prompt = \"login\""),
        case("prompt-consent").set("prompt = \"consent\""),
        case("request-objects")
            .features(&json!({ "requestObjects": { "enabled": true, "requireSignedRequestObject": true } }))
            .ends(Ends::Refused("Request Object must be used")),
        slash,
        deep,
        wrong_slash,
    ]
}

async fn sign_in(gateway: &Gateway, case: &Case) -> Result<Response, String> {
    let browser = gateway.browser();
    let begun = browser.get(&format!("/auth/login/{}", case.name)).await;
    if begun.status() != StatusCode::FOUND {
        return Ok(begun);
    }
    let (callback, form) = Person::new("ann")
        .arrive(&location(&begun), &case.callback())
        .await?;
    if form.is_empty() {
        return Ok(browser.get(callback.as_str()).await);
    }
    let posted = browser
        .send(browser.request(Method::POST, callback.as_str()).form(&form))
        .await;
    assert_eq!(posted.status(), StatusCode::SEE_OTHER, "{}", case.name);
    Ok(browser.get(location(&posted).as_str()).await)
}

async fn check(gateway: &Gateway, case: &Case) -> Result<(), String> {
    let said = || {
        let of_this = format!("\"provider\":\"{}\"", case.name);
        let lines = gateway.log.lines();
        lines
            .into_iter()
            .filter(|line| line.contains(&of_this))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let answer = sign_in(gateway, case).await?;
    let status = answer.status();
    match &case.ends {
        Ends::Refused(text) => {
            if status == StatusCode::FOUND {
                return Err("signed in".to_owned());
            }
            let wanted = |line: &str| line.contains(&case.name) && line.contains(text);
            if !gateway.flushed_log().await.iter().any(|line| wanted(line)) {
                return Err(format!("{status}, and the log does not say {text:?}: {}", said()));
            }
        }
        ends => {
            if status != StatusCode::FOUND {
                return Err(format!("{status}: {}", said()));
            }
            let profile = gateway.browser().check(&token_in(&answer)).await["profile"].clone();
            let (name, email) = if matches!(ends, Ends::SignedIn) {
                (json!("The person ann"), json!("ann@example.org"))
            } else {
                (json!(""), Value::Null)
            };
            if profile["name"] != name || profile["email"] != email {
                return Err(format!("signed in as {profile}: {}", said()));
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_p11_a_certified_provider_in_every_configuration_signs_people_in_or_the_log_says_why() {
    let mut setup = Setup::serve();
    let cases = [algorithms(), claims(), clients(setup.dir.path()), requests()].concat();
    assert!(cases.len() >= 40, "{} configurations", cases.len());
    let given: Vec<Value> = cases.iter().map(Case::for_node).collect();
    let mut matrix = Matrix::start(&json!(given)).await;
    for case in &cases {
        // In this case the gateway's configuration has the issuer without its slash.
        let path = if case.name == "wrong-slash" {
            "/wrong-slash"
        } else {
            &case.path
        };
        let mut table = format!(
            "issuer = \"{}{path}\"\nclient_id = {CLIENT_ID:?}\n{}",
            matrix.origin, case.table
        );
        if case.has_secret {
            let _ = writeln!(table, "client_secret = {CLIENT_SECRET:?}");
        }
        setup = setup.table(&format!("providers.{}", case.name), &table);
    }
    let gateway = setup.start().await;
    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(error) = check(&gateway, case).await {
            wrong.push(format!("{}: {error}", case.name));
        }
    }
    println!("{} configurations, {} wrong", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    // A provider that replaces its keys during a sign-in.
    for (name, path) in [("es256", "/es256"), ("userinfo-jwt-es256", "/userinfo-jwt-es256")] {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let browser = gateway.browser();
        let begun = location(&browser.get(&format!("/auth/login/{name}")).await);
        let (callback, _) = Person::new("ann").arrive(&begun, &case.callback()).await.unwrap();
        matrix.rotate(path).await;
        let answer = browser.get(callback.as_str()).await;
        assert_eq!(
            answer.status(),
            StatusCode::FOUND,
            "{name}: {}",
            gateway.log.text()
        );
    }
    gateway.stop().await;
}
