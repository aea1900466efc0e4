//! `GET /openapi.json`: what the API takes and answers, for programs. It is the same for everybody and says nothing
//! of how the gateway is configured.

use hyper::StatusCode;
use hyper::header::CACHE_CONTROL;

use crate::response::{self, PUBLIC_FOR_MINUTES, Response};

/// OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// The document.
pub fn document() -> Response {
    response::with(
        response::json_text(StatusCode::OK, DOCUMENT),
        CACHE_CONTROL,
        PUBLIC_FOR_MINUTES,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::DOCUMENT;

    /// Client generators send a token in every way that the document lists, at once.
    #[test]
    fn s4_there_is_one_way_to_send_a_token() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let schemes = document["components"]["securitySchemes"].as_object().unwrap();
        let bearer = &schemes["bearer"];
        assert_eq!(
            (schemes.len(), &bearer["type"], &bearer["scheme"]),
            (1, &json!("http"), &json!("bearer"))
        );
        assert_eq!(document.get("security"), None);
        let mut secured = Vec::new();
        for operation in document["paths"].as_object().unwrap().values() {
            for method in ["get", "post"] {
                let Some(operation) = operation.get(method) else {
                    continue;
                };
                if let Some(security) = operation.get("security") {
                    assert_eq!(security, &json!([{}, { "bearer": [] }]), "{operation}");
                    secured.push(operation["operationId"].as_str().unwrap());
                }
                let sends = operation.to_string();
                assert!(
                    !sends.contains("\"jwt\"") && !sends.contains("auth-token"),
                    "{sends}"
                );
            }
        }
        secured.sort_unstable();
        assert_eq!(secured, ["authorize", "check", "logout", "services", "update"]);
        // What the gateway takes besides is said in prose.
        let prose = document["info"]["description"].as_str().unwrap();
        assert!(
            prose.contains("`auth-token`") && prose.contains("`jwt`"),
            "{prose}"
        );
    }
}
