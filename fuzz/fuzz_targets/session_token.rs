//! Session tokens and sealed cookies. The key is new in each process, so no corpus can contain a valid one.
//!
//! The first byte selects the kind of input: any bytes, valid ones with changes, or any claims under a valid MAC.
#![no_main]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_model::{Random as _, SystemRandom, Timestamp};
use gateway_token::{SessionClaims, SessionKey};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const ISSUER: &str = "https://auth.example.org";
const NOW: Timestamp = Timestamp(1_795_500_000);
const HEADER: &str = r#"{"alg":"HS256","typ":"session+jwt"}"#;
const CONTEXT: &str = "__Host-auth-0123456789abcdef";
const PLAIN: &[u8] =
    br#"{"flow":{"state":"s","nonce":null,"verifier":"v"},"provider":"p","next":"n","issued":1}"#;

struct Fixture {
    key: SessionKey,
    mac: hmac::Key,
    token: String,
    sealed: String,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let mut secret = [0; 32];
    SystemRandom.fill(&mut secret).expect("randomness");
    let key = SessionKey::derive(&secret, ISSUER, Arc::new(SystemRandom)).expect("a key");
    // Derives the MAC's key again as `gateway_token::secret` documents it: the public functions can sign valid claims
    // only.
    let root = Salt::new(HKDF_SHA256, b"auth-gateway session key v1").extract(&secret);
    let label = [b"session token HS256".as_slice()];
    let mac = root.expand(&label, hmac::HMAC_SHA256).expect("a key").into();
    let token = key.issue(&claims(), NOW);
    let sealed = key.seal(CONTEXT, PLAIN).expect("sealed");
    let fixture = Fixture {
        key,
        mac,
        token,
        sealed,
    };
    let payload = fixture.token.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    assert_eq!(
        fixture.signed(HEADER.as_bytes(), &payload),
        fixture.token,
        "the key is derived otherwise"
    );
    fixture
});

fn claims() -> SessionClaims {
    SessionClaims {
        session: "0123456789abcdef".into(),
        user: "fedcba9876543210".into(),
        expires: Timestamp(NOW.0 + 600),
    }
}

impl Fixture {
    fn signed(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = [header, payload]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let mac = hmac::sign(&self.mac, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }
}

fuzz_target!(|data: &[u8]| {
    let fixture = &*FIXTURE;
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    match mode % 5 {
        0 => {
            let text = String::from_utf8_lossy(data);
            assert_eq!(fixture.key.verify(&text, NOW).ok(), None);
            assert_eq!(fixture.key.open(CONTEXT, &text), None);
            assert_eq!(fixture.key.open(&text, &fixture.sealed), None);
        }
        1 => {
            let altered = alter(&fixture.token, data);
            let read = fixture.key.verify(&altered, NOW).ok();
            assert_eq!(read.is_some(), altered == fixture.token, "{altered}");
            assert_eq!(fixture.key.open(CONTEXT, &altered), None);
        }
        2 => {
            let altered = alter(&fixture.sealed, data);
            let opened = fixture.key.open(CONTEXT, &altered);
            assert_eq!(opened.is_some(), altered == fixture.sealed, "{altered}");
            assert_eq!(fixture.key.verify(&altered, NOW).ok(), None);
        }
        3 => {
            let token = fixture.signed(HEADER.as_bytes(), data);
            if let Ok(read) = fixture.key.verify(&token, NOW) {
                judge(data, &read);
            }
        }
        _ => {
            let payload = fixture.token.split('.').nth(1).expect("three parts");
            let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
            let token = fixture.signed(data, &payload);
            let read = fixture.key.verify(&token, NOW).ok();
            assert_eq!(
                read.is_some(),
                data == HEADER.as_bytes(),
                "{}",
                String::from_utf8_lossy(data)
            );
        }
    }
});

/// The text with bytes replaced, inserted and removed; each change takes three bytes of the input.
fn alter(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(3).take(64) {
        let [what, at, byte] = *edit else {
            return text.to_owned();
        };
        let at = usize::from(at) % bytes.len().max(1);
        match what % 4 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(bytes.len().saturating_sub(usize::from(byte))),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks accepted claims again, without the gateway's types.
fn judge(payload: &[u8], read: &SessionClaims) {
    let claims: Value = serde_json::from_slice(payload).expect("JSON");
    let issued = claims["iat"].as_u64().expect("iat is a whole number");
    let expected = json!({
        "iss": ISSUER, "aud": ISSUER, "iat": issued, "exp": read.expires.0,
        "sub": read.user.as_str(), "sid": read.session.as_str(),
    });
    assert_eq!(claims, expected);
    assert!(read.expires > NOW, "it has expired");
}
