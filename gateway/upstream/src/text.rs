//! Text for people, as providers send it.

use gateway_model::text::without_unsafe;

/// The longest display name and address that are kept, in bytes.
pub(crate) const MAX_TEXT: usize = 256;

/// A text for people, without characters that control a terminal, reorder or hide text, cut where it is too long.
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
