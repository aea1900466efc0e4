//! Return URLs: every URL that `return_url::parse` accepts is checked again, as text, by code without a URL
//! library.
#![no_main]

use std::sync::LazyLock;

use gateway::origins::Origins;
use gateway::return_url;
use libfuzzer_sys::fuzz_target;
use url::{Origin, Url};

/// The allowed origins; the last one is the gateway's own.
const ALLOWED: [&str; 5] = [
    "https://app.example.org",
    "http://localhost:3000",
    "http://[2001:db8::1]:8080",
    "https://xn--bcher-kva.example",
    "https://auth.example.org",
];

static ORIGINS: LazyLock<Vec<Origin>> = LazyLock::new(|| {
    ALLOWED
        .iter()
        .map(|text| Url::parse(text).expect("a URL").origin())
        .collect()
});

fuzz_target!(|text: &str| {
    let (own, origins) = ORIGINS.split_last().expect("five");
    let origins = &Origins::from(origins.to_vec());
    let Ok(next) = return_url::parse(text, origins, own) else {
        return;
    };
    for sent in [next.as_str(), &next.with_token("T")] {
        assert!(
            sent.bytes().all(|byte| byte.is_ascii_graphic()),
            "not plain: {sent:?}"
        );
        assert!(!sent.contains('\\'), "a backslash: {sent}");
        let leads_home = |origin: &str| {
            sent.strip_prefix(origin)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        assert!(
            ALLOWED.iter().any(|origin| leads_home(origin)),
            "leads elsewhere: {sent}"
        );
    }

    let sent = next.with_token("T");
    let before_fragment = sent.split('#').next().expect("there is a first");
    let query = before_fragment.split_once('?').map_or("", |(_, query)| query);
    let tokens: Vec<&str> = query.split('&').filter(|pair| is_token(pair)).collect();
    assert_eq!(tokens, ["jwt=T"], "in {sent}");
    assert!(query.ends_with("jwt=T"), "the token is not last: {sent}");
    assert!(
        !next.as_str().contains("jwt=T") || text.contains("jwt=T"),
        "a token that nobody gave"
    );

    assert_eq!(
        return_url::parse(next.as_str(), origins, own).as_ref(),
        Ok(&next),
        "no fixed point"
    );
});

/// Whether an application that percent-decodes names finds the token in this parameter.
fn is_token(pair: &str) -> bool {
    let name = pair.split('=').next().expect("there is a first");
    let (mut decoded, mut rest) = (Vec::new(), name.as_bytes());
    while let [byte, tail @ ..] = rest {
        let hex = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    decoded == b"jwt"
}
