//! The cost of signing and verifying: permission tokens by each algorithm, session tokens.
//!
//! `cargo bench -p gateway-token --bench tokens`

// A bench ends at the first thing that is wrong.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_model::{SystemRandom, Timestamp};
use gateway_token::{Algorithm, PermissionClaims, SessionClaims, SessionKey, SigningKeys, generate_key};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::json;

const ISSUER: &str = "https://auth.example.org";
const USER: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_790_000_000;
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn keys(algorithm: Algorithm) -> SigningKeys {
    let (private, _) = generate_key(algorithm).unwrap();
    SigningKeys::from_pems(&[private], &[]).unwrap()
}

/// The claims for a role provider's answer.
fn permission_claims() -> PermissionClaims {
    let permissions = [
        ("areas", json!(["users", "billing"])),
        ("edit", json!(true)),
        ("quota", json!(100)),
        ("read", json!(true)),
    ];
    PermissionClaims {
        iss: ISSUER.to_owned(),
        sub: USER.to_owned(),
        userid: USER.to_owned(),
        service: "wiki".to_owned(),
        permissions: permissions
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect(),
        aud: None,
        plugin: "0".repeat(64),
        iat: NOW,
        exp: NOW + 900,
    }
}

fn session_key() -> SessionKey {
    SessionKey::derive(&[7; 32], ISSUER, Arc::new(SystemRandom)).unwrap()
}

fn session_claims() -> SessionClaims {
    SessionClaims {
        session: "fedcba9876543210fedcba9876543210".into(),
        user: USER.into(),
        expires: Timestamp(NOW + 1_209_600),
    }
}

fn sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sign");
    let claims = permission_claims();
    for algorithm in ALGORITHMS {
        let keys = keys(algorithm);
        group.bench_function(format!("permission-token-{algorithm}"), |bencher| {
            bencher.iter(|| keys.sign(black_box(&claims)).unwrap());
        });
    }
    let (key, claims) = (session_key(), session_claims());
    group.bench_function("session-token", |bencher| {
        bencher.iter(|| key.issue(black_box(&claims), Timestamp(NOW)));
    });
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    let key = session_key();
    let token = key.issue(&session_claims(), Timestamp(NOW));
    group.bench_function("session-token", |bencher| {
        bencher.iter(|| key.verify(black_box(&token), Timestamp(NOW)).unwrap());
    });
    // Applications verify permission tokens; the gateway never reads one.
    for algorithm in ALGORITHMS {
        let keys = keys(algorithm);
        let token = keys.sign(&permission_claims()).unwrap();
        let pem = keys.public_key_pem().as_bytes();
        let (key, by) = match algorithm {
            Algorithm::RS256 => (DecodingKey::from_rsa_pem(pem), jsonwebtoken::Algorithm::RS256),
            Algorithm::ES256 => (DecodingKey::from_ec_pem(pem), jsonwebtoken::Algorithm::ES256),
            Algorithm::EdDSA => (DecodingKey::from_ed_pem(pem), jsonwebtoken::Algorithm::EdDSA),
        };
        let key = key.unwrap();
        let mut validation = Validation::new(by);
        // The token is of a moment that has passed, or is yet to come, when this runs.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        group.bench_function(format!("permission-token-{algorithm}"), |bencher| {
            bencher.iter(|| {
                jsonwebtoken::decode::<PermissionClaims>(black_box(&token), &key, &validation).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = tokens;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = sign, verify
}
criterion_main!(tokens);
