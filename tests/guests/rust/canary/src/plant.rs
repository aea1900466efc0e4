//! Leaves ids in places that nothing cleans up. It joins the name of the place and the id in the place itself, so that
//! there is no other copy of both.

use std::cell::RefCell;
use std::hint::black_box;
use std::ops::Range;
use std::ptr;
use std::sync::Mutex;

/// Leaves `<place>:<id>` there.
type Plant = fn(&str, &str);

/// The places that need no preparation, by name. Freed ones come after kept ones, which would otherwise reuse them.
pub(crate) const PLACES: &[(&str, Plant)] = &[
    ("kept", |place, id| {
        copies(place, id).leak();
    }),
    ("freed", |place, id| drop(black_box(copies(place, id)))),
    ("stack", |place, id| {
        black_box(on_the_stack(place, id));
    }),
    ("static", |place, id| {
        fill(&mut *STATIC.lock().expect("one thread"), place, id);
    }),
    ("thread-local", |place, id| {
        LOCAL.with_borrow_mut(|local| fill(local, place, id));
    }),
];

/// Pages of 64 KiB that each call adds.
const PAGES: usize = 4;

static STATIC: Mutex<[u8; 64]> = Mutex::new([0; 64]);

thread_local! {
    static LOCAL: RefCell<[u8; 64]> = const { RefCell::new([0; 64]) };
}

fn fill<'a>(there: impl IntoIterator<Item = &'a mut u8>, place: &str, id: &str) {
    let text = b" "
        .iter()
        .copied()
        .chain(place.bytes())
        .chain(*b":")
        .chain(id.bytes());
    for (slot, byte) in there.into_iter().zip(text.cycle()) {
        *slot = byte;
    }
}

/// 4 KiB on the heap, because the allocator overwrites part of freed memory.
fn copies(place: &str, id: &str) -> Vec<u8> {
    let mut block = vec![0; 4 << 10];
    fill(&mut block, place, id);
    block
}

/// A frame of 16 KiB, of which later calls overwrite only the upper end.
#[inline(never)]
fn on_the_stack(place: &str, id: &str) -> u8 {
    let mut frame = [0; 16 << 10];
    fill(&mut frame, place, id);
    black_box(&frame)[0]
}

/// Adds pages that no allocator manages.
pub(crate) fn grow() -> Range<usize> {
    let first = core::arch::wasm32::memory_grow(0, PAGES);
    assert_ne!(first, usize::MAX, "there is no more memory");
    (first << 16)..((first + PAGES) << 16)
}

/// Leaves the id at the start and the end of each page.
pub(crate) fn fill_pages(pages: Range<usize>, place: &str, id: &str) {
    for page in pages.step_by(1 << 16) {
        for address in [page, page + (1 << 16) - 64] {
            // SAFETY: the pages were added for this, and nothing else uses them.
            let slots = unsafe {
                std::slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut::<u8>(address), 64)
            };
            fill(slots, place, id);
        }
    }
}
