//! Moments as people and file names have them.

use gateway_model::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC (RFC 3339): `2026-11-24T09:30:00Z`. One that no calendar has is given as the number it is.
#[must_use]
pub fn rfc3339(moment: Timestamp) -> String {
    let calendar = i64::try_from(moment.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = calendar.and_then(|moment| moment.format(&Rfc3339).ok());
    text.unwrap_or_else(|| moment.to_string())
}

#[cfg(test)]
mod tests {
    use gateway_model::Timestamp;

    use super::rfc3339;

    #[test]
    fn is_utc() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(1_795_510_200)), "2026-11-24T08:50:00Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), u64::MAX.to_string());
    }
}
