//! Characters that act on the text around them. People's names and plugins' words come from strangers and are shown
//! in pages, logs and terminals.

/// Whether a character controls a terminal, or reorders or hides what stands around it: control characters, Unicode's
/// `Bidi_Control` (UAX #9) and line breaks, what has no width, annotations, and the letters of tags, in which a whole
/// text can be hidden.
#[must_use]
pub const fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Whether a character has no width but says how its neighbours join (U+200C, U+200D): names in Persian and in the
/// scripts of India are written with them. They are among those that [`is_unsafe`] names.
#[must_use]
pub const fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::{is_joiner, is_unsafe};

    #[test]
    fn what_reorders_or_hides_is_unsafe() {
        for odd in
            "\0\n\r\u{1b}\u{7f}\u{85}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\
            \u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{2069}\u{206f}\u{feff}\u{fff9}\u{e0001}\u{e0041}"
                .chars()
        {
            assert!(is_unsafe(odd), "{}", odd.escape_unicode());
            assert_eq!(is_joiner(odd), ['\u{200c}', '\u{200d}'].contains(&odd));
        }
        for plain in " aé語🙂\u{301}\u{a0}".chars() {
            assert!(!is_unsafe(plain), "{}", plain.escape_unicode());
        }
    }
}
