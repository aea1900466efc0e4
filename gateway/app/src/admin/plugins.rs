//! `/plugins`: the status of the plugins, reload and rollback.
//!
//! | request | effect | response |
//! |---|---|---|
//! | `GET /plugins` | | the status of every plugin |
//! | `POST /plugins/NAME/reload` | checks the file again, as after a change | the plugin's status, once the result is in force |
//! | `POST /plugins/NAME/rollback` | returns to the previous generation | the same |
//!
//! The status is 404 if the plugin is not configured, and 409 with `error` if the action fails or the file does not
//! serve.

use gateway_host::{PluginHost, RollbackError};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::response::{self, Response};

/// Answers a path that begins with `/plugins`. Returns `None` for any other path.
pub(super) async fn handle(plugins: &PluginHost, path: &str, method: &Method) -> Option<Response> {
    let rest = path.strip_prefix("/plugins")?;
    if rest.is_empty() {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(response::method_not_allowed("GET, HEAD"));
        }
        let status = plugins.status();
        return Some(response::json(StatusCode::OK, &json!({ "plugins": status })));
    }
    // Plugins' names need no escapes in a path.
    let (name, action) = rest.strip_prefix('/')?.split_once('/')?;
    if !matches!(action, "reload" | "rollback") {
        return None;
    }
    if *method != Method::POST {
        return Some(response::method_not_allowed("POST"));
    }
    let done = if action == "rollback" {
        plugins.rollback(name).await
    } else {
        let status = plugins.reload(name).await;
        status.ok_or_else(|| RollbackError::NotConfigured {
            plugin: name.to_owned(),
        })
    };
    Some(match done {
        Ok(status) if action == "reload" && status.problem.is_some() => response::json(
            StatusCode::CONFLICT,
            &json!({ "error": status.problem, "plugin": status }),
        ),
        Ok(status) => response::json(StatusCode::OK, &status),
        Err(error @ RollbackError::NotConfigured { .. }) => {
            response::error(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error) => response::error(StatusCode::CONFLICT, &error.to_string()),
    })
}
