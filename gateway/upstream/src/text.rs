//! Printable text from providers.

use gateway_model::text::without_unsafe;

/// The longest display name and address, in bytes.
pub(crate) const MAX_TEXT: usize = 256;
/// The longest subject, in bytes (OpenID Connect Core 1.0 section 2, `sub`).
pub(crate) const MAX_SUBJECT: usize = 255;

/// The text without characters that control a terminal, or reorder or hide text, cut at 256 bytes.
pub fn plain(text: &str) -> String {
    let mut plain = without_unsafe(text);
    if plain.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|&end| plain.is_char_boundary(end))
            .unwrap_or_default();
        plain.truncate(end);
    }
    plain
}
