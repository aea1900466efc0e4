//! JSONP: a response as a script, for pages that cannot use CORS. Off by default.

/// The longest callback name, in bytes.
const MAX: usize = 64;

/// JavaScript's keywords. As a function name they would be a syntax error or do something else.
const RESERVED: &str = "await break case catch class const continue debugger default delete do else enum \
                        eval export extends false finally for function if import implements in \
                        instanceof interface let new null package private protected public return static \
                        super switch this throw true try typeof var void while with yield";

/// Returns the name if it is a plain identifier.
pub(crate) fn callback(name: &str) -> Option<&str> {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$';
    let plain = name.len() <= MAX
        && name.bytes().next().is_some_and(is_start)
        && name.bytes().all(|byte| is_start(byte) || byte.is_ascii_digit())
        && RESERVED.split(' ').all(|word| word != name);
    plain.then_some(name)
}

/// `name(json);`. The comment in front keeps other readers from taking the response for their own format.
pub(crate) fn wrap(name: &str, json: &[u8]) -> Vec<u8> {
    let json = String::from_utf8_lossy(json)
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    format!("/**/{name}({json});").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::{callback, wrap};

    #[test]
    fn only_plain_identifiers_are_accepted() {
        for name in ["cb", "_", "$1", "jQuery_17"] {
            assert_eq!(callback(name), Some(name));
        }
        for name in [
            "",
            "1a",
            "a.b",
            "a[0]",
            "a-b",
            "alert(1)//",
            "a;b",
            "delete",
            "let",
            "ä",
            "a\n",
            &"a".repeat(65),
        ] {
            assert_eq!(callback(name), None, "{name:?}");
        }
    }

    #[test]
    fn json_is_wrapped_in_a_call() {
        assert_eq!(
            wrap("cb", "{\"a\":\"\u{2028}\"}".as_bytes()),
            b"/**/cb({\"a\":\"\\u2028\"});"
        );
    }
}
