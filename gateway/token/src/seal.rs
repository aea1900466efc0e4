//! Sealed text: only the gateway can read or change it, and it fits into a cookie.
//!
//! It uses AES-256-GCM (NIST SP 800-38D) under its own key. The nonce has 96 random bits: after 2^32 texts under one
//! secret, more than many years of sign-ins need, the probability that two share a nonce is still below 2^-32.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::KeyError;
use crate::secret::SessionKey;

/// The most bytes of a sealed text. A browser keeps about 4,000 in a cookie.
pub const MAX_SEALED: usize = 8 * 1024;

impl SessionKey {
    /// Seals bytes. `context` (for example, a cookie's name) is not part of the result, but must be the same for
    /// opening it. Returns base64url without padding (RFC 4648 section 5), which fits into a cookie, a URL and a
    /// header; it is a third longer than the bytes, plus 38 characters.
    ///
    /// # Errors
    /// If there is no randomness, or the result would have more than [`MAX_SEALED`] bytes.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<String, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        let mut text = plain.to_vec();
        self.aead
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut text,
            )
            .map_err(|_| KeyError::Crypto)?;
        let sealed = URL_SAFE_NO_PAD.encode([nonce.as_slice(), text.as_slice()].concat());
        if sealed.len() > MAX_SEALED {
            return Err(KeyError::TooLong);
        }
        Ok(sealed)
    }

    /// Opens bytes that were sealed under the same secret, or an older one, in the same context; returns `None`
    /// otherwise.
    #[must_use]
    pub fn open(&self, context: &str, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_SEALED {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let older = self.older.iter().map(|older| &older.aead);
        std::iter::once(&self.aead).chain(older).find_map(|key| {
            let mut text = text.to_vec();
            let plain = key
                .open_in_place(
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(context.as_bytes()),
                    &mut text,
                )
                .ok()?
                .len();
            text.truncate(plain);
            Some(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::{any, proptest};

    use super::{Aad, KeyError, MAX_SEALED, NONCE_LEN, Nonce};
    use crate::secret::tests::key_of;

    const ISSUER: &str = "https://auth.example";

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = key_of(1, ISSUER);
        for plain in [b"".as_slice(), b"x", &[0; 1000]] {
            let sealed = key.seal("cookie-a", plain).unwrap();
            assert!(
                sealed
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
                "{sealed}"
            );
            assert_eq!(key.open("cookie-a", &sealed).as_deref(), Some(plain));
            assert_eq!(key.open("cookie-b", &sealed), None, "another context");
            assert_eq!(
                key_of(2, ISSUER).open("cookie-a", &sealed),
                None,
                "another secret"
            );
            assert_eq!(key.open("cookie-a", &format!("{sealed}=")), None, "padded");
        }
    }

    #[test]
    fn o2_text_sealed_under_an_older_secret_is_opened_and_none_is_sealed_under_it() {
        let (old, older) = (key_of(1, ISSUER), key_of(2, ISSUER));
        let new = key_of(3, ISSUER)
            .and_older(&[1; 32])
            .unwrap()
            .and_older(&[2; 32])
            .unwrap();
        for key in [&old, &older, &new] {
            let sealed = key.seal("cookie", b"state").unwrap();
            assert_eq!(new.open("cookie", &sealed).as_deref(), Some(b"state".as_slice()));
            assert_eq!(new.open("other", &sealed), None, "another context");
        }
        assert_eq!(
            new.open("cookie", &key_of(4, ISSUER).seal("cookie", b"state").unwrap()),
            None
        );
        let sealed = new.seal("cookie", b"state").unwrap();
        assert_eq!(
            (old.open("cookie", &sealed), older.open("cookie", &sealed)),
            (None, None)
        );
        assert!(matches!(
            key_of(3, ISSUER).and_older(&[1; 31]),
            Err(KeyError::SecretTooShort)
        ));
    }

    #[test]
    fn hides_the_plain_text_and_never_repeats_itself() {
        let key = key_of(1, ISSUER);
        let plain = b"verifier-verifier-verifier";
        let (one, two) = (key.seal("c", plain).unwrap(), key.seal("c", plain).unwrap());
        assert_ne!(one, two);
        let bytes = URL_SAFE_NO_PAD.decode(&one).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"verifier"));
    }

    #[test]
    fn notices_every_flipped_bit_and_every_cut() {
        let key = key_of(1, ISSUER);
        let sealed = key.seal("c", b"state and verifier").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open("c", &URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(
                key.open("c", &URL_SAFE_NO_PAD.encode(&bytes[..length])),
                None,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_rejected() {
        let key = key_of(1, ISSUER);
        assert!(matches!(key.seal("c", &[0; MAX_SEALED]), Err(KeyError::TooLong)));
        // Sealed properly, by a gateway that knows no limit.
        for (length, opens) in [(MAX_SEALED / 4 * 3 - 28, true), (MAX_SEALED / 4 * 3 - 27, false)] {
            let mut text = vec![0; length];
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            key.aead
                .seal_in_place_append_tag(nonce, Aad::from("c"), &mut text)
                .unwrap();
            let sealed = URL_SAFE_NO_PAD.encode([[0; NONCE_LEN].as_slice(), &text].concat());
            assert_eq!(key.open("c", &sealed).is_some(), opens, "{length}");
        }
    }

    #[test]
    fn a_session_token_is_not_a_sealed_text() {
        let key = key_of(1, ISSUER);
        let token = key.issue(&crate::session::tests::claims(), gateway_model::Timestamp(1));
        assert_eq!(key.open("", &token), None);
        assert_eq!(key.open("", token.split('.').nth(1).unwrap()), None);
    }

    proptest! {
        #[test]
        fn opening_arbitrary_text_is_safe(context in any::<String>(), sealed in any::<String>(), bytes in any::<Vec<u8>>()) {
            let key = key_of(1, ISSUER);
            assert_eq!(key.open(&context, &sealed), None);
            assert_eq!(key.open(&context, &URL_SAFE_NO_PAD.encode(&bytes)), None);
            let resealed = key.seal(&context, &bytes).unwrap();
            assert_eq!(key.open(&context, &resealed), Some(bytes));
        }
    }
}
