//! How the gateway proves to a provider which client it is.

use gateway_upstream::{ClientAuth, ClientKey, SecretMethod};
use secrecy::{ExposeSecret as _, SecretString};

use super::{missing, variable};
use crate::config::field::Secret;
use crate::config::layers::{Layers, Place};
use crate::config::settings::ProviderClient;
use crate::config::sources::Origin;
use crate::config::value::{ClientAuthMethod, Protocol};

/// What proves it.
pub(super) fn auth(
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    protocol: Protocol,
    client: ProviderClient,
) -> Option<ClientAuth> {
    let method = client.client_auth;
    let secret = client
        .client_secret
        .map(|Secret(secret, origin)| (secret, origin));
    let key = client.client_key.map(|Secret(key, origin)| (key, origin));
    let (key_id, key_alg) = (client.client_key_id, client.client_key_alg);
    let (audience, team_id) = (client.client_assertion_audience, client.team_id);
    let told = [
        "client_secret",
        "client_secret_file",
        "client_key",
        "client_key_file",
        "client_assertion_audience",
    ]
    .into_iter()
    .any(|key| layers.is_mistaken(&place.key(key)));
    let misfit = |layers: &mut Layers<'_>, key: &str, origin: &Origin, right: &str| {
        layers.mistake(Some(origin.clone()), &place.key(key), right);
    };
    if protocol == Protocol::GitHub && !matches!(method, ClientAuthMethod::Auto | ClientAuthMethod::Post) {
        let message = "must be auto or post: GitHub takes a secret and nothing else";
        layers.mistake(place.origin(), &place.key("client_auth"), message);
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
            ClientAuthMethod::PrivateKeyJwt => "means nothing unless client_auth is apple",
            _ => "means nothing unless client_auth is private_key_jwt or apple",
        };
        // What a preset has belongs to another method of its provider.
        if let Some(origin) = origin.filter(|origin| !matches!(origin, Origin::ProviderPreset(_))) {
            misfit(layers, key, origin, right);
        }
    }
    match method {
        ClientAuthMethod::Auto | ClientAuthMethod::Basic | ClientAuthMethod::Post => {
            if let Some((_, origin)) = &key {
                let right = "means nothing with a client secret: set client_auth to private_key_jwt or apple, or remove it";
                misfit(layers, "client_key", origin, right);
            }
            let Some((secret, _)) = secret else {
                if !told {
                    let message = format!(
                        "is missing: set it, or client_secret_file, or {}, to the secret that the provider gave",
                        variable(place, "client_secret")
                    );
                    layers.mistake(place.origin(), &place.key("client_secret"), message);
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
                    misfit(
                        layers,
                        key,
                        origin,
                        "means nothing with client_auth = \"none\": remove one of them",
                    );
                }
            }
            Some(ClientAuth::None)
        }
        ClientAuthMethod::PrivateKeyJwt | ClientAuthMethod::Apple => {
            if let Some((_, origin)) = &secret {
                let right = "means nothing where client_auth asks for a key: remove one of them";
                misfit(layers, "client_secret", origin, right);
            }
            let is_apple = method == ClientAuthMethod::Apple;
            for (key, is_missing, what) in [
                ("client_key_id", is_apple && key_id.is_none(), "the ID of the key"),
                (
                    "team_id",
                    is_apple && team_id.is_none(),
                    "the ID of the team that the key belongs to",
                ),
            ] {
                if is_missing {
                    missing(layers, place, key, what);
                }
            }
            let key = self::key(layers, place, key, key_id, key_alg, told)?;
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
    layers: &mut Layers<'_>,
    place: &Place<'_>,
    key: Option<(SecretString, Origin)>,
    id: Option<(String, Origin)>,
    algorithm: Option<(String, Origin)>,
    told: bool,
) -> Option<ClientKey> {
    let Some((pem, origin)) = key else {
        if !told {
            let message = format!(
                "is missing: set client_key_file, or {}, to the private key that signs for this client, a PEM text",
                variable(place, "client_key")
            );
            layers.mistake(place.origin(), &place.key("client_key"), message);
        }
        return None;
    };
    let algorithm = algorithm.map(|(algorithm, _)| algorithm);
    // Variables cannot have line ends everywhere, so `\n` stands for one, as in PRIVATE_KEY.
    let text = pem.expose_secret().replace("\\n", "\n");
    match ClientKey::read(&text, algorithm.as_deref(), id.map(|(id, _)| id)) {
        Ok(key) => Some(key),
        Err(problem) => {
            layers.mistake(
                Some(origin),
                &place.key("client_key"),
                format!("cannot be used: {problem}"),
            );
            None
        }
    }
}
