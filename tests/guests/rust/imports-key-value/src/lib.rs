//! A provider that uses the plugin's values. The user's id is the command, with words separated by single spaces.
//!
//! | command | answers |
//! |---|---|
//! | `get KEY` | `bytes` (integer) and `text` (the first hundred), or `none` |
//! | `set KEY VALUE`, `set KEY VALUE SECONDS` | `done` |
//! | `delete KEY` | `done`: whether there was a value |
//! | `increment KEY BY` | `sum` |
//! | `swap KEY OLD NEW` | `done`: whether the value was the old one |
//! | `list PREFIX AFTER LIMIT` | `count`, `first`, `last` |
//! | `many COUNT` | `done`: that many values of one byte are set, at keys of 256 bytes |
//! | anything else | panics if there is a value at `poison`, otherwise adds one to `calls`: `sum` |
//!
//! A value, and `AFTER`, is `=text`, `*n` for n bytes, or `-` for nothing. On an error, the answer is `error`:
//! `invalid: …`, `full` or `unavailable`.

wit_bindgen::generate!({
    inline: r#"
        package test:imports-key-value;
        world guest {
            import auth-gateway:plugin/key-value@1.0.0;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::key_value::{self, Error};
use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

type Answer = Vec<(&'static str, Value)>;

impl Guest for Provider {
    fn get_permissions(_service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let words: Vec<&str> = user_id.split(' ').collect();
        let answer = obey(&words).unwrap_or_else(|error| {
            let error = match error {
                Error::Invalid(rule) => format!("invalid: {rule}"),
                Error::Full => "full".to_owned(),
                Error::Unavailable => "unavailable".to_owned(),
            };
            vec![("error", Value::Text(error))]
        });
        Ok(answer
            .into_iter()
            .map(|(name, value)| Permission {
                name: name.to_owned(),
                value,
            })
            .collect())
    }
}

fn obey(words: &[&str]) -> Result<Answer, Error> {
    Ok(match *words {
        ["get", key] => match key_value::get(key)? {
            None => vec![("none", Value::Boolean(true))],
            Some(value) => vec![
                ("bytes", Value::Integer(value.len() as i64)),
                ("text", Value::Text(beginning(&value))),
            ],
        },
        ["set", key, value] => done(key_value::set(key, &bytes(value).unwrap(), None).map(|()| true)?),
        ["set", key, value, lifetime] => {
            let lifetime = lifetime.parse().unwrap();
            done(key_value::set(key, &bytes(value).unwrap(), Some(lifetime)).map(|()| true)?)
        }
        ["delete", key] => done(key_value::delete(key)?),
        ["increment", key, by] => vec![(
            "sum",
            Value::Integer(key_value::increment(key, by.parse().unwrap())?),
        )],
        ["swap", key, old, new] => {
            let (old, new) = (bytes(old), bytes(new));
            done(key_value::compare_and_set(key, old.as_deref(), new.as_deref())?)
        }
        ["list", prefix, after, limit] => {
            let after = bytes(after).map(|after| String::from_utf8(after).unwrap());
            let keys = key_value::list_keys(prefix, after.as_deref(), limit.parse().unwrap())?;
            let text = |key: Option<&String>| Value::Text(key.cloned().unwrap_or_default());
            vec![
                ("count", Value::Integer(keys.len() as i64)),
                ("first", text(keys.first())),
                ("last", text(keys.last())),
            ]
        }
        ["many", count] => {
            for number in 0..count.parse::<u32>().unwrap() {
                key_value::set(&format!("{number:0256}"), b"x", None)?;
            }
            done(true)
        }
        _ => {
            assert_eq!(key_value::get("poison")?, None, "poison");
            vec![("sum", Value::Integer(key_value::increment("calls", 1)?))]
        }
    })
}

fn done(done: bool) -> Answer {
    vec![("done", Value::Boolean(done))]
}

fn beginning(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned()
}

/// The value of a word.
fn bytes(word: &str) -> Option<Vec<u8>> {
    match word.split_at(1) {
        ("=", text) => Some(text.into()),
        ("*", count) => Some(vec![b'v'; count.parse().unwrap()]),
        _ => None,
    }
}
