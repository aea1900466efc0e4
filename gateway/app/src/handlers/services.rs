//! `GET /auth/services`: the services that `authorize` answers for. Without a valid token the list is empty, as
//! `authorize` then has no permissions.

use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

pub(crate) async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    let services = match session::caller(app, request).await? {
        Caller::SignedIn(_) => app.plugins.services(),
        Caller::NoToken | Caller::NotSignedIn | Caller::UnknownUser => Vec::new(),
    };
    Ok(response::json(StatusCode::OK, &json!({ "services": services })))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use serde_json::json;

    use crate::testing::TestGateway;

    #[tokio::test]
    async fn without_services_the_list_is_empty() {
        let gateway = TestGateway::new().await;
        for token in ["", "invalid", &gateway.sign_in("alice").await] {
            let response = gateway.get("/auth/services", token).await;
            assert_eq!(response, (StatusCode::OK, json!({ "services": [] })), "{token}");
        }
    }
}
