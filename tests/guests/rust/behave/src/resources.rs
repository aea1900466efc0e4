//! Uses more time, memory, stack or log than a call may.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use crate::{Answer, Permission, integer, text};

const WASM_PAGE: usize = 64 << 10;

/// The answer for `service`, if this module has it and it ends.
pub(crate) fn consume(service: &str) -> Option<Answer> {
    Some(Ok(match service {
        "spin" => spin(),
        "trap" => panic!("this guest was asked to trap"),
        "bomb" => bomb(),
        "bomb-trap" => bomb_until_trapped(),
        "recurse" => vec![integer("depth", deep(1))],
        "sleep" => {
            // Longer than any test waits, because the host notices a late guest when it wakes, even if waiting is not
            // limited.
            thread::sleep(Duration::from_secs(3600));
            vec![text("slept", "an hour")]
        }
        "log-flood" => log_flood(),
        _ => {
            let turns = service.strip_prefix("burn-")?.parse().ok()?;
            burn(turns)
        }
    }))
}

/// The loop of [`spin`], for a number of turns.
fn burn(turns: i64) -> Vec<Permission> {
    let mut turned = 0_i64;
    while turned < turns {
        turned = black_box(turned.wrapping_add(1));
    }
    vec![integer("turns", turned)]
}

fn spin() -> Vec<Permission> {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Grows the memory page by page with the instruction itself, and writes to all of it, until growing fails. Returns how
/// much it got.
fn bomb() -> Vec<Permission> {
    let mut pages = 0;
    loop {
        let before = core::arch::wasm32::memory_grow(0, 1);
        if before == usize::MAX {
            return vec![integer("pages", pages)];
        }
        let address = before * WASM_PAGE;
        // SAFETY: the page at this address was added just now, and nothing else uses it.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_bytes(1, WASM_PAGE) };
        pages += 1;
    }
}

/// The same through the allocator, which traps if there is no more memory.
fn bomb_until_trapped() -> Vec<Permission> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Recurses until the stack overflows. It uses the result so that the compiler cannot make a loop of it.
#[inline(never)]
fn deep(depth: i64) -> i64 {
    if black_box(depth) == 0 {
        0
    } else {
        deep(depth.wrapping_add(1)).rotate_left(1) ^ depth
    }
}

/// Writes 100 MB to standard output and to standard error.
fn log_flood() -> Vec<Permission> {
    let line = "flood ".repeat(1000);
    for _ in 0..17_000 {
        println!("{line}");
        eprintln!("{line}");
    }
    vec![text("flooded", "yes")]
}
