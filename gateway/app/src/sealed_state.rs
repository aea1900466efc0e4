//! The state of a sign-in between its two requests, and its encoding in a cookie. The encoding is compact, because the
//! cookies of several sign-ins share what a proxy accepts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_token::{KeyError, SessionKey};
use gateway_upstream::Flow;

/// The first byte of the encoding. A cookie from an older version is answered like a sign-in that began elsewhere; this
/// can happen for ten minutes after an upgrade.
const VERSION: u8 = 2;
const BY_THE_PERSON: u8 = 1;
const ENDED: u8 = 2;
const TELLS_NEXT: u8 = 4;
/// Marks a length whose content is decoded base64url.
const DECODED: u8 = 0x80;

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub struct SealedState {
    /// The values that the callback must match.
    pub flow: Flow,
    /// The provider that must answer.
    pub provider: String,
    /// The return URL.
    pub next: String,
    /// When the sign-in began, in seconds since the Unix epoch.
    pub issued: u64,
    /// Whether the user began it. Otherwise a page may have done so.
    pub by_the_person: bool,
    /// Whether the application at `next` handles a failure.
    pub tells_next: bool,
    /// Whether it has ended, so that a reload can say so.
    pub ended: bool,
}

impl SealedState {
    /// Seals the state for the cookie with this name.
    ///
    /// # Errors
    ///
    /// If it is too long, or there is no randomness.
    pub fn seal(&self, key: &SessionKey, cookie: &str) -> Result<String, KeyError> {
        key.seal(cookie, &self.encode().ok_or(KeyError::TooLong)?)
    }

    /// Opens what [`seal`](Self::seal) sealed for the cookie with this name.
    pub fn open(key: &SessionKey, cookie: &str, sealed: &str) -> Option<Self> {
        Self::decode(&key.open(cookie, sealed)?)
    }

    /// The same sign-in after its end. Keeps only what is needed to say so, and to begin again.
    pub(crate) fn over(mut self) -> Self {
        self.flow.nonce = None;
        self.flow.verifier = String::new();
        self.ended = true;
        self
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.by_the_person, BY_THE_PERSON)
            | flag(self.ended, ENDED)
            | flag(self.tells_next, TELLS_NEXT);
        let mut bytes = vec![VERSION, flags];
        bytes.extend(self.issued.to_be_bytes());
        // An absent nonce and an empty one are encoded alike. No provider gets an empty one.
        let nonce = self.flow.nonce.as_deref().unwrap_or_default();
        for text in [&self.flow.state, nonce, &self.flow.verifier, &self.provider] {
            put(&mut bytes, text)?;
        }
        bytes.extend(self.next.as_bytes());
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, flags], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (issued, mut rest) = rest.split_first_chunk()?;
        let mut text = || {
            let (text, after) = take(rest)?;
            rest = after;
            Some(text)
        };
        let (state, nonce, verifier, provider) = (text()?, text()?, text()?, text()?);
        Some(Self {
            flow: Flow {
                state,
                nonce: Some(nonce).filter(|nonce| !nonce.is_empty()),
                verifier,
            },
            provider,
            next: String::from_utf8(rest.to_vec()).ok()?,
            issued: u64::from_be_bytes(*issued),
            by_the_person: flags & BY_THE_PERSON != 0,
            tells_next: flags & TELLS_NEXT != 0,
            ended: flags & ENDED != 0,
        })
    }
}

/// Appends a text of fewer than 128 bytes, after its length. Random values are base64url and will be encoded once more,
/// so they are decoded first, which saves a quarter.
fn put(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok();
    let decoded = decoded.filter(|bytes| URL_SAFE_NO_PAD.encode(bytes) == text);
    let (content, flag) = match &decoded {
        Some(decoded) => (decoded.as_slice(), DECODED),
        None => (text.as_bytes(), 0),
    };
    let length = u8::try_from(content.len())
        .ok()
        .filter(|length| length & DECODED == 0)?;
    bytes.push(length | flag);
    bytes.extend(content);
    Some(())
}

fn take(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (content, rest) = rest.split_at_checked(usize::from(length & !DECODED))?;
    let text = if length & DECODED == 0 {
        String::from_utf8(content.to_vec()).ok()?
    } else {
        URL_SAFE_NO_PAD.encode(content)
    };
    Some((text, rest))
}

#[cfg(test)]
mod tests {
    use gateway_upstream::Flow;
    use proptest::prelude::proptest;

    use super::SealedState;

    fn state(texts: [&str; 4], nonce: Option<&str>) -> SealedState {
        let [state, verifier, provider, next] = texts;
        SealedState {
            flow: Flow {
                state: state.to_owned(),
                nonce: nonce.map(str::to_owned),
                verifier: verifier.to_owned(),
            },
            provider: provider.to_owned(),
            next: next.to_owned(),
            issued: 1_796_000_000,
            by_the_person: true,
            tells_next: false,
            ended: false,
        }
    }

    #[test]
    fn b2_little_is_added_to_next() {
        let next = "https://app.example.org/".to_owned() + &"x".repeat(576);
        let random = "A".repeat(22);
        let state = state([&random, &"A".repeat(43), "google", &next], Some(&random));
        let encoded = state.encode().unwrap();
        assert!(encoded.len() < 600 + 90, "{}", encoded.len());
        // Three sealed states with their names are within the bound.
        let sealed = (encoded.len() + 28).div_ceil(3) * 4;
        let name = crate::cookie::name("s", true);
        assert!(3 * crate::cookie::size(&name, &vec![0; sealed]) <= crate::cookie::MAX_TOGETHER);
    }

    #[test]
    fn a_text_that_is_too_long_cannot_be_encoded() {
        let long = "!".repeat(128);
        assert!(state([&long, "", "", ""], None).encode().is_none());
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(
            random in "[A-Za-z0-9_-]{0,50}",
            text in "\\PC{0,30}",
            nonce in proptest::option::of("[A-Za-z0-9_-]{1,50}"),
            next in "\\PC{0,200}",
            flags in 0u8..8,
        ) {
            let mut before = state([&random, &text, &text, &next], nonce.as_deref());
            (before.by_the_person, before.ended) = (flags & 1 != 0, flags & 2 != 0);
            before.tells_next = flags & 4 != 0;
            let after = SealedState::decode(&before.encode().unwrap()).unwrap();
            assert_eq!(
                (&after.flow.state, &after.flow.nonce, &after.flow.verifier, &after.provider, &after.next),
                (&before.flow.state, &before.flow.nonce, &before.flow.verifier, &before.provider, &before.next)
            );
            assert_eq!(
                (after.issued, after.by_the_person, after.tells_next, after.ended),
                (before.issued, before.by_the_person, before.tells_next, before.ended)
            );
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = SealedState::decode(&bytes);
        }
    }
}
