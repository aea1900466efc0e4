use serde_json::{Value, json};

use super::{Bad, MAX_VALUES, Members, Object, Unfit, check, object};

#[test]
fn objects_with_duplicate_members_are_rejected() {
    let text = br#"{"sub": "1", "groups": [{"a": 1}]}"#;
    assert_eq!(
        Value::Object(object(text).unwrap()),
        json!({"sub": "1", "groups": [{"a": 1}]})
    );
    for odd in [
        r#"{"a": 1, "a": 1}"#,
        r#"{"a": 1, "\u0061": 2}"#,
        "[]",
        "null",
        "1",
        "",
        "{} {}",
    ] {
        assert!(object(odd.as_bytes()).is_err(), "{odd}");
    }
}

#[test]
fn p1_errors_name_the_member_but_not_its_value() {
    let value = json!({
        "text": 7, "empty": "", "null": null, "texts": ["a", {"b": 1}], "one": "a", "flag": "true",
        "url": "not a url", "time": "2199-01-01", "late": 253_402_300_800_u64, "early": -1, "huge": 1e300,
        "good": 1_795_500_000.9,
    });
    let members = Members(value.as_object().unwrap());
    let said = |unfit: Option<Unfit>| unfit.unwrap().to_string();
    for (unfit, expected) in [
        (
            members.text("text").err(),
            "`text` must be a string, but is a number",
        ),
        (
            members.required_text("empty").err(),
            "`empty` must be a string, but is empty",
        ),
        (
            members.required_text("null").err(),
            "`null` must be a string, but is null",
        ),
        (
            members.required_text("none").err(),
            "`none` must be a string, but is missing",
        ),
        (
            members.texts("texts").err(),
            "`texts[1]` must be a string, but is an object",
        ),
        (
            members.texts("one").err(),
            "`one` must be a list of strings, but is a string",
        ),
        (
            members.flag("flag").err(),
            "`flag` must be true or false, but is a string",
        ),
        (
            members.url("url").err(),
            "`url` must be an absolute URL, but is another string",
        ),
        (
            members.required_url("empty").err(),
            "`empty` must be an absolute URL, but is an empty string",
        ),
    ] {
        assert_eq!(said(unfit), expected);
    }
    for name in ["time", "late", "early", "huge", "flag"] {
        assert!(members.time(name).is_err(), "{name}");
    }
    assert_eq!(members.time("good"), Ok(Some(1_795_500_000)));
    assert_eq!(members.time("none"), Ok(None));
    assert_eq!(members.url("empty"), Ok(None));
    assert_eq!((members.text("null"), members.flag("none")), (Ok(None), Ok(None)));
}

#[test]
fn p1_numbers_too_large_for_a_float_are_accepted() {
    let long = "9".repeat(400);
    for (number, read) in [
        ("1E400", f64::MAX),
        ("-1e+999", -f64::MAX),
        (long.as_str(), f64::MAX),
        ("1e-400", 0.0),
        ("1e308", 1e308),
    ] {
        let text = format!(r#"{{"s\"1E400": "\\", "n": {number}, "a":[{number}], "z":"1E400"}}"#);
        let object = Object::read(text.as_bytes()).unwrap();
        assert_eq!(object.values()["n"].as_f64(), Some(read), "{number}");
        assert_eq!(object.values()["s\"1E400"], "\\");
        assert_eq!(object.values()["z"], "1E400");
        assert_eq!(
            object.claims().as_str(),
            format!(r#"{{"a":[{number}],"n":{number},"s\"1E400":"\\","z":"1E400"}}"#)
        );
        assert!(
            Members(object.values()).time("n").is_err() || read == 0.0,
            "{number}"
        );
    }
    for broken in [
        "01E400",
        "1E400.5",
        "1E",
        "1E400E400",
        "--1E400",
        "+1E400",
        "-",
        "1E400x",
        "\"1E400",
    ] {
        assert!(
            object(format!("{{\"n\":{broken}}}").as_bytes()).is_err(),
            "{broken}"
        );
    }
}

#[test]
fn p1_unpaired_surrogates_are_replaced() {
    for (text, repaired) in [
        (r#"{"a":"x\ud83d"}"#, r#"{"a":"x\ufffd"}"#),
        (
            r#"{"a":"\uD83D\ud83d\ude00\uDE00"}"#,
            r#"{"a":"\ufffd\ud83d\ude00\ufffd"}"#,
        ),
        (r#"{"\ud83d\n":["\\ud83d"]}"#, "{\"\u{fffd}\\n\":[\"\\\\ud83d\"]}"),
    ] {
        let object = Object::read(text.as_bytes()).unwrap();
        assert_eq!(object.claims().as_str(), repaired, "{text}");
        let value: Value = serde_json::from_str(repaired).unwrap();
        assert_eq!(&Value::Object(object.values().clone()), &value);
    }
    for broken in [
        r#"{"a":"\ud83"}"#,
        r#"{"a":"\u+d83"}"#,
        r#"{"a":"\"#,
        r#"{"a":"\ud83d"#,
    ] {
        assert!(object(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn trailing_bytes_are_not_json() {
    for broken in ["{", "{} x", "{}{}", " [1]]", "{\"a\":}", "{}\u{0}"] {
        assert_eq!(check(broken.as_bytes()), Err(Bad::NotJson), "{broken}");
    }
    for whole in ["{}", " {\"a\": [1, null, true, -1, 1.5, \"x\"]}\n", "[]"] {
        assert_eq!(check(whole.as_bytes()), Ok(()), "{whole}");
    }
    assert_eq!(check("[".repeat(50_000).as_bytes()), Err(Bad::TooDeep));
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(nested(127).as_bytes()), Ok(()));
    assert_eq!(check(nested(128).as_bytes()), Err(Bad::TooDeep));
}

#[test]
fn a14_values_are_counted_at_every_level() {
    for (value, weight) in [("[],", 1), ("{},", 1), ("0,", 1), ("[{\"a\":[\"\"]}],", 4)] {
        let of = |count: usize| format!("[{}0]", value.repeat(count));
        assert_eq!(check(of((MAX_VALUES - 2) / weight).as_bytes()), Ok(()), "{value}");
        let many = of((MAX_VALUES - 2) / weight + 1);
        assert_eq!(check(many.as_bytes()), Err(Bad::TooMany), "{value}");
    }
}
