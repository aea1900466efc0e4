//! `/plugins`: how the plugins stand, and what an operator does about one.
//!
//! | request | does | answers |
//! |---|---|---|
//! | `GET /plugins` | | every plugin |
//! | `POST /plugins/NAME/reload` | looks at its file again, as when that changes | how it stands, once that is in force |
//! | `POST /plugins/NAME/rollback` | lets the generation before serve | the same |
//!
//! 404 where no such plugin is configured, 409 with `error` where it cannot be done or the file does not
//! serve.

use gateway_host::{PluginHost, RollbackError};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::response::{self, Response};

/// What is done to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Reload,
    Rollback,
}

/// Answers for a path that begins with `/plugins`; `None` where there is nothing.
pub(super) async fn handle(plugins: &PluginHost, path: &str, method: &Method) -> Option<Response> {
    let rest = path.strip_prefix("/plugins")?;
    if rest.is_empty() {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(response::method_not_allowed("GET, HEAD"));
        }
        let status = plugins.status();
        return Some(response::json(StatusCode::OK, &json!({ "plugins": status })));
    }
    // Names of plugins are plain text: nothing in them is escaped in a path.
    let (name, action) = rest.strip_prefix('/')?.split_once('/')?;
    let action = match action {
        "reload" => Action::Reload,
        "rollback" => Action::Rollback,
        _ => return None,
    };
    if *method != Method::POST {
        return Some(response::method_not_allowed("POST"));
    }
    Some(act(plugins, name, action).await)
}

async fn act(plugins: &PluginHost, name: &str, action: Action) -> Response {
    let done = match action {
        Action::Rollback => plugins.rollback(name).await,
        Action::Reload => {
            let stands = plugins.reload(name).await;
            stands.ok_or_else(|| RollbackError::NotConfigured {
                plugin: name.to_owned(),
            })
        }
    };
    match done {
        Ok(status) if action == Action::Reload && status.problem.is_some() => response::json(
            StatusCode::CONFLICT,
            &json!({ "error": status.problem, "plugin": status }),
        ),
        Ok(status) => response::json(StatusCode::OK, &status),
        Err(error @ RollbackError::NotConfigured { .. }) => {
            response::error(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error) => response::error(StatusCode::CONFLICT, &error.to_string()),
    }
}
