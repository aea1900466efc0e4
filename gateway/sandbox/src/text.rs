//! Makes guests' texts safe to log, show and sign: without control characters, and limited in length.

use gateway_model::text::is_unsafe;

/// Returns at most `max` bytes of `text`, cut between characters, with control characters escaped. No line break or
/// terminal sequence remains.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for character in text.chars() {
        if out.len() + character.len_utf8() > max {
            out.push('…');
            break;
        }
        if is_unsafe(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Returns at most `max` bytes of `text` for a person to read, with spaces in place of control characters.
pub fn sentence(text: &str, max: usize) -> String {
    let spaced: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    printable(spaced.trim(), max)
}

/// Formats a number with its digits in groups of three: `10,000,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether a text has no character that [`printable`] escapes.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_unsafe)
}

#[cfg(test)]
mod tests {
    use super::{grouped, is_plain, printable, sentence};

    #[test]
    fn digits_are_in_groups() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (10_000_000, "10,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn control_characters_do_not_get_through() {
        assert_eq!(printable("a\r\nb\u{1b}[31m", 99), "a\\u{d}\\u{a}b\\u{1b}[31m");
        assert_eq!(sentence(" Go\naway\u{202e} ", 99), "Go away");
        assert!(is_plain("grüße 🙂") && !is_plain("a\0") && !is_plain("\u{202e}"));
    }

    #[test]
    fn invisible_and_bidirectional_characters_are_escaped() {
        for odd in ['\u{61c}', '\u{200b}', '\u{202e}', '\u{e0041}'] {
            let text = format!("a{odd}b");
            assert!(!is_plain(&text), "{}", odd.escape_unicode());
            assert_eq!(printable(&text, 99), format!("a{}b", odd.escape_unicode()));
            assert_eq!(sentence(&text, 99), "a b");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(printable("ääää", 5), "ää…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
