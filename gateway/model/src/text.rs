//! Characters that act on the text around them. Names of users and texts from plugins come from strangers and are shown
//! in pages, logs and terminals.

/// Whether a character controls a terminal, or reorders or hides the text around it: control characters, Unicode's
/// `Bidi_Control` (UAX #9) and line breaks, characters without a width (`Default_Ignorable_Code_Point` except for the
/// first sixteen variation selectors, which emoji use), annotations, and tag letters, in which a whole text can be
/// hidden.
#[must_use]
pub const fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Removes the characters for which [`is_unsafe`] is true, except for joiners between two others (U+200C, U+200D):
/// names in Persian, in Indic scripts, and some emoji need them.
#[must_use]
pub fn without_unsafe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut joiner = None;
    for character in text.chars() {
        if matches!(character, '\u{200c}' | '\u{200d}') {
            joiner = Some(character);
        } else if !is_unsafe(character) {
            if !safe.is_empty() {
                safe.extend(joiner);
            }
            joiner = None;
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{is_unsafe, without_unsafe};

    #[test]
    fn characters_that_reorder_or_hide_are_unsafe() {
        for odd in "\0\n\r\u{1b}\u{7f}\u{85}\u{ad}\u{34f}\u{61c}\u{1160}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\
            \u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{2069}\u{206f}\u{3164}\u{feff}\u{ffa0}\
            \u{fff9}\u{e0001}\u{e0041}\u{e0101}"
            .chars()
        {
            assert!(is_unsafe(odd), "{}", odd.escape_unicode());
        }
        for plain in " aé語🙂\u{301}\u{a0}\u{fe0f}".chars() {
            assert!(!is_unsafe(plain), "{}", plain.escape_unicode());
        }
    }

    #[test]
    fn joiners_are_kept_between_letters() {
        let (persian, family) = ("علی\u{200c}رضا", "👩\u{200d}👧");
        for text in [persian, family, "Ann Lee", ""] {
            assert_eq!(without_unsafe(text), text);
        }
        assert_eq!(
            without_unsafe("\u{200d}a\u{200c}\u{200d}\u{200d}b\u{202e}\u{200c}\n"),
            "a\u{200d}b"
        );
        assert_eq!(without_unsafe("\u{200d}\u{200c}"), "");
    }
}
