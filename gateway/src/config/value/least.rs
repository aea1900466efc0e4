//! The least that a setting may be: with less, nothing that it is for would work at all.

use std::time::Duration;

pub(super) fn duration(key: &str) -> Duration {
    match key {
        // Tokens count in whole seconds.
        "tokens.session_lifetime" | "tokens.permission_lifetime" => Duration::from_secs(1),
        // A component of a few kilobytes takes some 50 ms on a machine that has nothing else to do.
        "plugins.compile_time" => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

pub(super) fn bytes(key: &str) -> usize {
    match key {
        // The compiler itself, before it has read a component.
        "plugins.compile_memory" => 64 << 20,
        // What one plugin has unless it is given another limit.
        "plugins.total_memory" => 64 << 20,
        // The header of a component, and hardly more.
        "plugins.max_size" => 1 << 10,
        _ => 1,
    }
}
