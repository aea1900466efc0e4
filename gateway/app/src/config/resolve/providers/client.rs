//! How the gateway authenticates itself to a provider.

use gateway_upstream::{ClientAuth, ClientKey, SecretMethod};
use secrecy::ExposeSecret as _;

use super::Section;
use crate::config::field::Secret;
use crate::config::settings::ProviderClient;
use crate::config::sources::Origin;
use crate::config::value::{ClientAuthMethod, Protocol};

pub(super) fn auth(
    section: &mut Section<'_, '_, '_>,
    protocol: Protocol,
    client: ProviderClient,
) -> Option<ClientAuth> {
    let method = client.client_auth;
    let (secret, key) = (client.client_secret, client.client_key);
    let (key_id, key_alg) = (client.client_key_id, client.client_key_alg);
    let (audience, team_id) = (client.client_assertion_audience, client.team_id);
    let reported = [
        "client_secret",
        "client_secret_file",
        "client_key",
        "client_key_file",
        "client_assertion_audience",
    ]
    .into_iter()
    .any(|key| section.is_mistaken(key));
    if protocol == Protocol::GitHub && !matches!(method, ClientAuthMethod::Auto | ClientAuthMethod::Post) {
        section.mistake(
            None,
            "client_auth",
            "must be auto or post: GitHub accepts only a secret",
        );
        return None;
    }
    let of_key = [
        ("client_key_id", key_id.as_ref().map(|(_, origin)| origin)),
        ("client_key_alg", key_alg.as_ref().map(|(_, origin)| origin)),
        (
            "client_assertion_audience",
            audience.as_ref().map(|(_, origin)| origin),
        ),
        ("team_id", team_id.as_ref().map(|(_, origin)| origin)),
    ];
    for (key, origin) in of_key {
        let right = match method {
            ClientAuthMethod::Apple => continue,
            ClientAuthMethod::PrivateKeyJwt if key != "team_id" => continue,
            ClientAuthMethod::PrivateKeyJwt => "has no effect unless client_auth is apple",
            _ => "has no effect unless client_auth is private_key_jwt or apple",
        };
        // A preset's setting is for another method of its provider.
        if let Some(origin) = origin.filter(|origin| !matches!(origin, Origin::ProviderPreset(_))) {
            section.mistake(Some(origin), key, right);
        }
    }
    match method {
        ClientAuthMethod::Auto | ClientAuthMethod::Basic | ClientAuthMethod::Post => {
            if let Some((_, origin)) = &key {
                let right = "has no effect with a client secret: set client_auth to private_key_jwt or apple, or remove it";
                section.mistake(Some(origin), "client_key", right);
            }
            let Some((secret, _)) = secret else {
                if !reported {
                    let message = format!(
                        "is missing: set it, or client_secret_file, or {}, to the secret that the provider gave you",
                        section.variable("client_secret")
                    );
                    section.mistake(None, "client_secret", message);
                }
                return None;
            };
            let method = match method {
                ClientAuthMethod::Basic => SecretMethod::Basic,
                ClientAuthMethod::Post => SecretMethod::Post,
                _ => SecretMethod::Discovered,
            };
            Some(ClientAuth::Secret { secret, method })
        }
        ClientAuthMethod::None => {
            for (key, found) in [("client_secret", &secret), ("client_key", &key)] {
                if let Some((_, origin)) = found {
                    let right = "has no effect with client_auth = \"none\": remove one of them";
                    section.mistake(Some(origin), key, right);
                }
            }
            Some(ClientAuth::None)
        }
        ClientAuthMethod::PrivateKeyJwt | ClientAuthMethod::Apple => {
            if let Some((_, origin)) = &secret {
                let right = "has no effect with a client_auth that needs a key: remove one of them";
                section.mistake(Some(origin), "client_secret", right);
            }
            let is_apple = method == ClientAuthMethod::Apple;
            if is_apple && key_id.is_none() {
                section.missing("client_key_id", "the ID of the key");
            }
            if is_apple && team_id.is_none() {
                section.missing("team_id", "the ID of the team that the key belongs to");
            }
            let key = self::key(section, key, key_id, key_alg, reported)?;
            if is_apple {
                let (team_id, _) = team_id?;
                Some(ClientAuth::Apple { team_id, key })
            } else {
                let audience = audience.map(|(audience, _)| audience).unwrap_or_default();
                Some(ClientAuth::PrivateKey { key, audience })
            }
        }
    }
}

fn key(
    section: &mut Section<'_, '_, '_>,
    key: Option<Secret>,
    id: Option<(String, Origin)>,
    algorithm: Option<(String, Origin)>,
    reported: bool,
) -> Option<ClientKey> {
    let Some((pem, origin)) = key else {
        if !reported {
            let message = format!(
                "is missing: set client_key_file, or {}, to the private key that signs for this client, a PEM text",
                section.variable("client_key")
            );
            section.mistake(None, "client_key", message);
        }
        return None;
    };
    let algorithm = algorithm.map(|(algorithm, _)| algorithm);
    // Not every environment allows line breaks in variables, so `\n` stands for one, as in PRIVATE_KEY.
    let text = pem.expose_secret().replace("\\n", "\n");
    match ClientKey::read(&text, algorithm.as_deref(), id.map(|(id, _)| id)) {
        Ok(key) => Some(key),
        Err(problem) => {
            section.mistake(Some(&origin), "client_key", format!("cannot be used: {problem}"));
            None
        }
    }
}
