//! `GET /openapi.json`: the description of the API. It does not depend on the configuration.

use hyper::StatusCode;

use crate::response::{self, Response};

pub(crate) const DOCUMENT: &str = include_str!("../../openapi.json");

pub(crate) fn document() -> Response {
    response::cached(response::json_text(StatusCode::OK, DOCUMENT))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::DOCUMENT;

    /// Collects every object schema in a part of the document, with its path.
    fn objects<'a>(part: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
        if part.get("type") == Some(&json!("object")) {
            found.push((path.to_owned(), part));
        }
        match part {
            Value::Object(members) => {
                for (name, member) in members {
                    objects(member, &format!("{path}/{name}"), found);
                }
            }
            Value::Array(members) => {
                for (number, member) in members.iter().enumerate() {
                    objects(member, &format!("{path}/{number}"), found);
                }
            }
            _ => {}
        }
    }

    /// From an object without properties, generators make a type that no value fits. From a closed one, they make
    /// models that reject the properties of later gateways.
    #[test]
    fn objects_are_open_and_have_types_that_fit() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut found = Vec::new();
        objects(&document, "", &mut found);
        assert!(found.len() > 10);
        for (path, schema) in found {
            let further = schema.get("additionalProperties");
            assert_ne!(further, Some(&json!(false)), "{path}");
            assert!(schema.get("properties").is_some() || further.is_some(), "{path}");
            // openapi-python-client reads a constant only if no type is beside it, and distinguishes members of a union
            // by their constants.
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let is_boolean = property.get("const").is_some_and(Value::is_boolean);
                assert!(!is_boolean || property.get("type").is_none(), "{path}: {name}");
            }
        }
    }

    /// Each operation has one result type. JSONP is for clients that are not generated.
    #[test]
    fn requests_and_responses_have_one_content_type() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        for (path, operation) in document["paths"].as_object().unwrap() {
            for method in ["get", "post"]
                .into_iter()
                .filter_map(|method| operation.get(method))
            {
                let contents = [
                    &method["responses"]["200"]["content"],
                    &method["requestBody"]["content"],
                ];
                for content in contents.into_iter().filter_map(Value::as_object) {
                    let is_json = content.contains_key("application/json");
                    assert!(!is_json || content.len() == 1, "{path}: {content:?}");
                }
            }
        }
        assert!(!DOCUMENT.contains("application/javascript"));
    }

    /// Generated clients send a token in every way that the document lists.
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
        for operation in ["authorize", "check", "logout", "services", "update"] {
            assert!(secured.contains(&operation), "{operation} takes a token");
        }
        // The other ways to send a token are described in prose.
        let prose = document["info"]["description"].as_str().unwrap();
        assert!(
            prose.contains("`auth-token`") && prose.contains("`jwt`"),
            "{prose}"
        );
    }
}
