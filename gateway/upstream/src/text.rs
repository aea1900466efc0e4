//! Printable text from providers.

use gateway_model::text::without_unsafe;

/// The longest display name and address, in bytes.
pub(crate) const MAX_TEXT: usize = 256;
/// The longest subject, in bytes (OpenID Connect Core 1.0 section 2, `sub`).
pub(crate) const MAX_SUBJECT: usize = 255;

/// The text without characters that control a terminal, or reorder or hide text, cut at 256 bytes.
pub fn plain(text: &str) -> String {
    let mut plain = without_unsafe(text);
    plain.truncate(plain.floor_char_boundary(MAX_TEXT));
    plain
}
