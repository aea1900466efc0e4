//! PEM keys as operators paste them: the result is a key that signs or an error, which never contains the key, and no
//! private key is among the published ones.
#![no_main]

use gateway_token::{KeyError, PermissionClaims, SigningKeys};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    // A form feed separates two keys.
    let private: Vec<_> = text.split('\u{c}').map(Into::into).collect();
    judge(SigningKeys::from_pems(&private, &[]), text);
    let private = GOOD.into();
    let public: Vec<_> = text.split('\u{c}').map(str::to_owned).collect();
    judge(SigningKeys::from_pems(&[private], &public), text);
});

/// The key of RFC 8032 section 7.1, test 1.
const GOOD: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";

fn judge(keys: Result<SigningKeys, KeyError>, text: &str) {
    match keys {
        Ok(keys) => {
            let set: Value = serde_json::from_str(keys.jwks()).expect("JSON");
            for key in set["keys"].as_array().expect("a list") {
                for half in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                    assert!(key.get(half).is_none(), "{half} of a private key is published");
                }
            }
            assert_eq!(set["keys"][0]["kid"].as_str(), Some(keys.kid()));
            assert!(keys.public_key_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
            let token = keys.sign(&claims()).expect("an accepted key signs");
            assert_eq!(token.split('.').count(), 3);
        }
        Err(error) => {
            let error = format!("{error} {error:?}");
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            for line in words.filter(|word| word.len() >= 32) {
                assert!(
                    !error.contains(line),
                    "the error contains a line of the key: {error}"
                );
            }
        }
    }
}

fn claims() -> PermissionClaims {
    PermissionClaims {
        iss: String::new(),
        sub: String::new(),
        userid: String::new(),
        service: String::new(),
        permissions: Default::default(),
        aud: None,
        plugin: String::new(),
        iat: 0,
        exp: 1,
    }
}
