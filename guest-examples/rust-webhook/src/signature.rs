//! The headers of a message in the Standard Webhooks specification (<https://www.standardwebhooks.com>): an id, a time
//! and, with a secret, the HMAC-SHA256 of both and the body.

use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// The fewest bytes of a secret that the specification allows, 24, in base64.
const SHORTEST: usize = 32;

/// The headers to send with `body`. `sent_at` is in seconds since the Unix epoch, `secret` is `whsec_` and
/// base64.
///
/// # Errors
/// A sentence for the operator if the secret is not valid. It does not contain the secret.
pub fn headers(
    id: &str,
    sent_at: u64,
    body: &str,
    secret: Option<&str>,
) -> Result<Vec<(&'static str, String)>, String> {
    let mut headers = vec![
        (HEADER_WEBHOOK_ID, id.to_owned()),
        (HEADER_WEBHOOK_TIMESTAMP, sent_at.to_string()),
    ];
    if let Some(secret) = secret {
        let key = secret
            .strip_prefix("whsec_")
            .filter(|base64| base64.len() >= SHORTEST)
            .and_then(|base64| Webhook::new(base64).ok());
        let signature = key.and_then(|key| {
            let sent_at = i64::try_from(sent_at).ok()?;
            key.sign(id, sent_at, body.as_bytes()).ok()
        });
        let signature = signature.ok_or(
            "the secret `signing` cannot be used: it is \"whsec_\" and the base64 of 24 bytes or more",
        )?;
        headers.push((HEADER_WEBHOOK_SIGNATURE, signature));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::headers;

    #[test]
    fn signs_as_the_specification_says() {
        // The example of the specification.
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = r#"{"test": 2432232314}"#;
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let headers = headers(id, 1_614_265_330, body, Some(secret)).unwrap();
        let expected = [
            ("webhook-id", id),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn without_a_secret_there_is_no_signature() {
        let headers = headers("e", 1, "{}", None).unwrap();
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["webhook-id", "webhook-timestamp"]);
    }

    #[test]
    fn an_invalid_secret_is_an_error_and_not_shown() {
        for wrong in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!w",
        ] {
            let error = headers("e", 1, "{}", Some(wrong)).unwrap_err();
            assert!(error.contains("the secret `signing` cannot be used"), "{error}");
            assert!(!error.contains("MfKQ"), "{error}");
        }
    }
}
