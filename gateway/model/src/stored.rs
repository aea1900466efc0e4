//! The size of a plugin's value on disk, which `store_bytes` limits.

/// Bytes of a row beside its plugin's name, its key and its value: headers and columns.
const ROW: u64 = 20;
/// The longest row that shares a page with others.
const IN_PAGE: u64 = 1000;
/// The size of a page, and the part of it that a long value can use.
const PAGE: u64 = 4096;
const IN_OVERFLOW: u64 = 4092;
/// The part of a long value that stays in the page of its row, and the space for it.
const HEAD: u64 = 489;
const HEAD_STORED: u64 = 512;

/// Returns the bytes that one value takes in the database, from the lengths of its plugin's name, its key and itself. A
/// value that `expires` has another row in an index.
///
/// If keys come in any order, pages are two thirds full, so a row that shares a page counts one and a half times. The
/// database computes the same (`migrations/0005_plugin_value_storage.sql`).
#[must_use]
pub const fn stored_bytes(plugin: usize, key: usize, value: usize, expires: bool) -> u64 {
    let (plugin, key, value) = (plugin as u64, key as u64, value as u64);
    let name = plugin.saturating_add(key).saturating_add(ROW);
    let row = name.saturating_add(value);
    let row = if row <= IN_PAGE {
        row * 3 / 2
    } else {
        (row - HEAD)
            .div_ceil(IN_OVERFLOW)
            .saturating_mul(PAGE)
            .saturating_add(HEAD_STORED)
    };
    let index = if expires { name.saturating_mul(3) / 2 } else { 0 };
    row.saturating_add(index)
}

#[cfg(test)]
mod tests {
    use super::stored_bytes;

    #[test]
    fn a17_a_row_counts_its_size_on_disk() {
        for (lengths, bytes) in [
            ((1, 1, 0, false), 33),
            ((1, 1, 0, true), 66),
            ((6, 4, 970, false), 1500),
            ((6, 4, 971, false), 512 + 4096),
            ((6, 10, 100_000, false), 512 + 25 * 4096),
        ] {
            let (plugin, key, value, expires) = lengths;
            assert_eq!(stored_bytes(plugin, key, value, expires), bytes, "{lengths:?}");
        }
        assert_eq!(stored_bytes(usize::MAX, usize::MAX, usize::MAX, true), u64::MAX);
    }
}
