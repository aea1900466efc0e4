//! The most that a setting may be: more is a slip of the keyboard, and could overflow somewhere.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Ten years.
pub(super) const DURATION: Duration = Duration::from_secs(3650 * 86_400);
/// 1 TiB.
pub(super) const BYTES: usize = 1 << 40;

pub(super) fn duration(key: &str) -> Duration {
    match key {
        "tokens.session_lifetime" | "database.event_retention" => DURATION,
        "tokens.permission_lifetime" | "tokens.permission_reuse" => 30 * DAY,
        // Everything else is waited for.
        _ => DAY,
    }
}

pub(super) fn bytes(key: &str) -> usize {
    match key {
        // Kept in memory for each request.
        "server.max_body" | "upstream.max_body" => 1 << 30,
        _ => BYTES,
    }
}

pub(super) fn count(key: &str) -> u64 {
    match key {
        "server.guest_threads" => 1024,
        "server.connections" => 1_000_000,
        _ => u64::MAX,
    }
}
