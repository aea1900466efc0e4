//! Formats times.

use std::time::{Duration, UNIX_EPOCH};

use gateway_model::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// UTC (RFC 3339): `2026-11-24T09:30:00Z`. A time beyond the calendar is written as the number.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    let calendar = i64::try_from(moment.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = calendar.and_then(|moment| moment.format(&Rfc3339).ok());
    text.unwrap_or_else(|| moment.to_string())
}

/// The last second of the year 9999, the latest HTTP date.
pub(crate) const LAST: u64 = 253_402_300_799;

/// HTTP's format (RFC 9110 section 5.6.7). Later times, from a damaged database or a wrong clock, become the latest
/// date.
pub(crate) fn http_date(moment: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(moment.0.min(LAST)))
}

#[cfg(test)]
mod tests {
    use gateway_model::Timestamp;

    use super::{http_date, rfc3339};

    #[test]
    fn every_moment_has_an_http_date() {
        assert_eq!(
            http_date(Timestamp(1_795_510_200)),
            "Tue, 24 Nov 2026 08:50:00 GMT"
        );
        assert_eq!(http_date(Timestamp(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn rfc3339_is_utc() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(1_795_510_200)), "2026-11-24T08:50:00Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), u64::MAX.to_string());
    }
}
