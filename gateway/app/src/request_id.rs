//! Names a request in the log, for the caller and on error pages. A caller's own `X-Request-Id` is ignored.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_model::Random;
use gateway_model::clock::RandomError;
use hyper::header::{HeaderName, HeaderValue};

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Odd, so that an id recurs only after 2^64 requests. Without a pattern, so that consecutive ids look different in a
/// log.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(u64);

impl RequestId {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).unwrap_or(HeaderValue::from_static("-"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The ids of one process. They begin at random, so that the ids of two processes differ. They are names, not secrets,
/// so none needs a system call.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

impl RequestIds {
    pub(crate) fn new(random: &dyn Random) -> Result<Self, RandomError> {
        let mut first = [0; 8];
        random.fill(&mut first)?;
        Ok(Self(AtomicU64::new(u64::from_ne_bytes(first))))
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId(self.0.fetch_add(STEP, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gateway_model::SystemRandom;

    use super::RequestIds;

    #[test]
    fn ids_are_unique() {
        let (one, other) = (
            RequestIds::new(&SystemRandom).unwrap(),
            RequestIds::new(&SystemRandom).unwrap(),
        );
        let ids: BTreeSet<_> = (0..1000)
            .flat_map(|_| [one.next(), other.next()])
            .map(|id| id.header().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
