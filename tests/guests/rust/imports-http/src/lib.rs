//! A provider that sends an HTTP request through `wasi:http`. The user's id is the command: `METHOD URL` and options,
//! separated by single spaces.
//!
//! | option | |
//! |---|---|
//! | `header:NAME=VALUE` | sets a header |
//! | `body:BYTES` | sends this many bytes, without announcing the length |
//! | `read:BYTES` | reads only this much of the response body, then drops it |
//! | `follow:TIMES` | follows this many redirects, whose `Location` is an absolute URL |
//! | `times:COUNT` | repeats all of it, as long as there is a response |
//! | `anyway` | or even if there is none |
//! | `connect:MS`, `first-byte:MS`, `between-bytes:MS` | its timeouts |
//! | `forget` | does not wait for the response |
//! | `unfinished` | does not finish the body |
//! | `spin` | gets a response, reads nothing of it and loops forever |
//!
//! In a trial call (the service `trial`) it sends `GET http://trial.test/`.
//!
//! It returns `status`, `bytes` (how many it read), `text` (the first of them), `headers` (how many), `served` (the
//! number of responses) and, if something fails, `error`: the step and the code.

mod request;

wit_bindgen::generate!({
    inline: r#"
        package test:imports-http;
        world guest {
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};
use request::{Plan, Response, send};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let words = if service == "trial" {
            "GET http://trial.test/"
        } else {
            &user_id
        };
        let Some(plan) = Plan::read(words) else {
            return Ok(Vec::new());
        };
        let (mut served, mut answer) = (0, Vec::new());
        for _ in 0..plan.times {
            match follow(&plan, &mut served) {
                Ok(response) => answer = shown(response),
                Err(error) => {
                    answer.retain(|(name, _)| *name == "status");
                    answer.push(("error", Value::Text(error)));
                    if !plan.anyway {
                        break;
                    }
                }
            }
        }
        answer.push(("served", Value::Integer(served)));
        Ok(answer
            .into_iter()
            .map(|(name, value)| Permission {
                name: name.to_owned(),
                value,
            })
            .collect())
    }
}

/// The response at the end of the redirects.
fn follow(plan: &Plan, served: &mut i64) -> Result<Option<Response>, String> {
    let mut url = plan.url.clone();
    let mut left = plan.follow;
    loop {
        let response = send(plan, &url)?;
        *served += i64::from(response.is_some());
        match response.as_ref().and_then(|response| response.location.clone()) {
            Some(location) if left > 0 => {
                url = location;
                left -= 1;
            }
            _ => return Ok(response),
        }
    }
}

fn shown(response: Option<Response>) -> Vec<(&'static str, Value)> {
    let Some(response) = response else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&response.body[..response.body.len().min(200)]).into_owned();
    vec![
        ("status", Value::Integer(response.status.into())),
        ("headers", Value::Integer(response.headers as i64)),
        ("bytes", Value::Integer(response.body.len() as i64)),
        ("text", Value::Text(text)),
    ]
}
