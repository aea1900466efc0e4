//! Identifies a request in the log, to the caller, and on error pages. A caller's own `X-Request-Id` is never used.

use std::sync::atomic::{AtomicU64, Ordering};

use gateway_model::Random;
use gateway_model::clock::RandomError;
use hyper::header::{HeaderName, HeaderValue};

/// `X-Request-Id`.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Odd, so that an id comes again after 2^64 requests only, and without a pattern, so that ids that follow each other
/// do not look alike to whoever searches a log.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The ids of one process: 16 hexadecimal digits each. They begin at random, so that those of two processes differ. They
/// are names, not secrets, and need no system call each.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// # Errors
    /// When there is no randomness.
    pub fn new(random: &dyn Random) -> Result<Self, RandomError> {
        let mut first = [0; 8];
        random.fill(&mut first)?;
        Ok(Self(AtomicU64::new(u64::from_ne_bytes(first))))
    }

    /// The id of one more request.
    #[must_use]
    pub fn next(&self) -> HeaderValue {
        let id = self.0.fetch_add(STEP, Ordering::Relaxed);
        HeaderValue::try_from(format!("{id:016x}")).unwrap_or(HeaderValue::from_static("-"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gateway_model::SystemRandom;

    use super::RequestIds;

    #[test]
    fn no_id_comes_twice() {
        let (one, other) = (
            RequestIds::new(&SystemRandom).unwrap(),
            RequestIds::new(&SystemRandom).unwrap(),
        );
        let ids: BTreeSet<_> = (0..1000)
            .flat_map(|_| [one.next(), other.next()])
            .map(|id| id.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
