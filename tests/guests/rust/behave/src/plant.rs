//! Leaves a secret behind and returns the secrets that it found. In a fresh instance it finds none.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Answer, integer, text};

static CALLS: AtomicI64 = AtomicI64::new(0);
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Marks a page of memory that no allocator manages.
const MARK: &[u8] = b"planted:";

/// Returns the number of earlier calls and the ids of their users: `found` from statics, `last` from a thread local,
/// `pages` from memory beyond the heap.
pub(crate) fn plant(user_id: &str) -> Answer {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut secrets = SECRETS.lock().expect("one thread");
    let found = secrets.join(",");
    secrets.push(user_id.to_owned());
    let last = LAST
        .with(|last| last.replace(Some(user_id.to_owned())))
        .unwrap_or_default();
    let pages = found_in_pages();
    plant_in_a_page(user_id);
    Ok(vec![
        integer("calls", calls),
        text("found", &found),
        text("last", &last),
        text("pages", &pages),
    ])
}

fn found_in_pages() -> String {
    let pages = core::arch::wasm32::memory_size(0);
    let mut found = Vec::new();
    for page in 1..pages {
        // SAFETY: the page is within the memory, and nothing else writes to it.
        let page = unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(page << 16), 1 << 16)
        };
        if let Some(rest) = page.strip_prefix(MARK) {
            found.push(
                String::from_utf8_lossy(rest.split(|b| *b == 0).next().unwrap_or_default()).into_owned(),
            );
        }
    }
    found.join(",")
}

fn plant_in_a_page(user_id: &str) {
    let page = core::arch::wasm32::memory_grow(0, 1);
    if page == usize::MAX {
        return;
    }
    let secret = [MARK, user_id.as_bytes()].concat();
    let length = secret.len().min(1 << 16);
    // SAFETY: the page was added just now, and the secret is cut to its size.
    unsafe {
        std::ptr::with_exposed_provenance_mut::<u8>(page << 16)
            .copy_from_nonoverlapping(secret.as_ptr(), length);
    }
}
