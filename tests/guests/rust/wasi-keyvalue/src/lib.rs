//! A provider that works on the plugin's values by the WASI draft, as the user's id says: one command a
//! call, its words parted by single spaces. The service is the name of the store that it opens; `own` stands
//! for the empty one.
//!
//! | command | answers |
//! |---|---|
//! | `get KEY` | `text`, or `none` |
//! | `set KEY TEXT` | `done` |
//! | `fill KEY BYTES` | `done`: a value of so many bytes is set |
//! | `delete KEY` | `done` |
//! | `exists KEY` | `done`: whether it does |
//! | `increment KEY BY` | `sum` |
//! | `many COUNT` | `done`: that many values are set, at keys that begin with `many` |
//! | `list` | how many keys there are in each `page` (text, by commas), and how many `different` ones in all |
//! | `cursor NUMBER` | `count`: how many keys there are from there |
//! | `open COUNT` | `done`: so many stores could be opened at once |
//! | anything else | `done`: the store could be opened |
//!
//! Where the gateway refuses, the answer is `error`: the error's text.

wit_bindgen::generate!({
    inline: r#"
        package test:wasi-keyvalue;
        world guest {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: ["../../../../wit", "../../../../gateway/plugin/wit/deps/keyvalue"],
    generate_all,
});

use std::collections::BTreeSet;

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};
use wasi::keyvalue::atomics;
use wasi::keyvalue::store::{self, Error};

struct Provider;
export!(Provider);

type Answer = Vec<(&'static str, Value)>;

impl Guest for Provider {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let words: Vec<&str> = user_id.split(' ').collect();
        let name = if service == "own" { "" } else { &service };
        let answer = obey(name, &words).unwrap_or_else(|error| {
            let error = match error {
                Error::NoSuchStore => "no such store".to_owned(),
                Error::AccessDenied => "access denied".to_owned(),
                Error::Other(text) => text,
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

fn obey(name: &str, words: &[&str]) -> Result<Answer, Error> {
    let bucket = store::open(name)?;
    Ok(match *words {
        ["get", key] => match bucket.get(key)? {
            None => done(true, "none"),
            Some(value) => vec![("text", Value::Text(String::from_utf8(value).unwrap()))],
        },
        ["set", key, text] => done(bucket.set(key, text.as_bytes()).map(|()| true)?, "done"),
        ["fill", key, count] => {
            let value = vec![b'v'; count.parse().unwrap()];
            done(bucket.set(key, &value).map(|()| true)?, "done")
        }
        ["delete", key] => done(bucket.delete(key).map(|()| true)?, "done"),
        ["exists", key] => done(bucket.exists(key)?, "done"),
        ["increment", key, by] => {
            let sum = atomics::increment(&bucket, key, by.parse().unwrap())?;
            vec![("sum", Value::Integer(sum as i64))]
        }
        ["many", count] => {
            for number in 0..count.parse::<u32>().unwrap() {
                bucket.set(&format!("many{number}"), b"x")?;
            }
            done(true, "done")
        }
        ["list"] => {
            let (mut pages, mut all) = (Vec::new(), BTreeSet::new());
            let mut cursor = None;
            loop {
                let page = bucket.list_keys(cursor)?;
                pages.push(page.keys.len().to_string());
                all.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            vec![
                ("page", Value::Text(pages.join(","))),
                ("different", Value::Integer(all.len() as i64)),
            ]
        }
        ["cursor", cursor] => {
            let page = bucket.list_keys(Some(cursor.parse().unwrap()))?;
            vec![("count", Value::Integer(page.keys.len() as i64))]
        }
        ["open", count] => {
            let open: Result<Vec<_>, _> = (0..count.parse::<u32>().unwrap())
                .map(|_| store::open(name))
                .collect();
            done(open.map(|_| true)?, "done")
        }
        _ => done(true, "done"),
    })
}

fn done(done: bool, name: &'static str) -> Answer {
    vec![(name, Value::Boolean(done))]
}
