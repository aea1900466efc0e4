//! Pushed authorization requests (RFC 9126): the parameters go to the provider first, and the browser brings a reference.

use http::StatusCode;
use serde_json::Value;
use url::Url;

use super::Oidc;
use super::metadata::Metadata;
use crate::authorize::Parameters;
use crate::client::Sent;
use crate::config::Par;
use crate::error::{Refusal, UpstreamError};
use crate::http::{Http, HttpError, Requests};
use crate::json::{self, Members};
use crate::text::plain;

const WHAT: &str = "the endpoint for pushed authorization requests";
/// The longest reference, in bytes. It becomes part of a redirect.
const MAX_REFERENCE: usize = 1024;

/// Where requests are pushed to, if they are.
///
/// # Errors
/// When the setting and the provider do not fit each other.
pub(super) fn endpoint(metadata: &Metadata, http: &Http, setting: Par) -> Result<Option<Url>, UpstreamError> {
    let odd = |unfit: json::Unfit| UpstreamError::BadDiscovery(plain(&unfit.to_string()));
    let members = metadata.members();
    if setting == Par::Never {
        return Ok(None);
    }
    let required = members
        .flag("require_pushed_authorization_requests")
        .map_err(odd)?
        .unwrap_or_default();
    if setting == Par::Auto && !required {
        return Ok(None);
    }
    let endpoint = members
        .url("pushed_authorization_request_endpoint")
        .map_err(odd)?
        .ok_or_else(|| {
            UpstreamError::BadDiscovery(
                "there is no `pushed_authorization_request_endpoint`; set par = \"never\" for the provider if it can do without"
                    .to_owned(),
            )
        })?;
    http.may_ask(&endpoint).map_err(|error| {
        UpstreamError::BadDiscovery(format!("the endpoint {endpoint} is not asked: {error}"))
    })?;
    Ok(Some(endpoint))
}

impl Oidc {
    /// Pushes a request; gives the address that the browser goes to.
    pub(super) async fn push(
        &self,
        requests: &Requests<'_>,
        metadata: &Metadata,
        endpoint: &Url,
        parameters: &Parameters<'_>,
    ) -> Result<Url, UpstreamError> {
        let client_id = self.config.client_id.as_str();
        // A parameter of the request (section 2.1). Where what proves the client is in the form too, its id is there already.
        let method = self.config.client_auth.method(metadata.auth_methods.as_deref());
        let in_header = method == "client_secret_basic";
        let form: Parameters<'_> = parameters
            .iter()
            .filter(|(name, _)| in_header || name != "client_id")
            .cloned()
            .collect();
        let request = self.config.client_auth.request(
            endpoint,
            client_id,
            Self::server(metadata),
            &form,
            self.clock.now(),
        )?;
        let sent = Sent::of(&request, &self.config.client_auth);
        let answer = requests
            .send(request)
            .await
            .map_err(|error| UpstreamError::Http { what: WHAT, error })?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let error = HttpError::Status(status.as_u16());
            return Err(UpstreamError::Http { what: WHAT, error });
        }
        let members = match json::object(answer.body()) {
            Ok(members) => members,
            Err(problem) if status.is_success() => return Err(bad(&format!("the answer {problem}"))),
            Err(_) => {
                let error = HttpError::Status(status.as_u16());
                return Err(UpstreamError::Http { what: WHAT, error });
            }
        };
        // Section 2.2 has 201. Some answer 200.
        if !matches!(status, StatusCode::CREATED | StatusCode::OK) {
            let text = |name| members.get(name).and_then(Value::as_str);
            let code = text("error").unwrap_or_default();
            let description = text("error_description").map(|description| sent.removed_from(description));
            return Err(UpstreamError::PushRefused(Refusal::new(
                code,
                description.as_deref(),
            )));
        }
        let reference = Members(&members)
            .required_text("request_uri")
            .map_err(|unfit| bad(&unfit.to_string()))?;
        if reference.len() > MAX_REFERENCE {
            return Err(bad("`request_uri` is longer than 1,024 bytes"));
        }
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("client_id", client_id)
            .append_pair("request_uri", reference);
        Ok(url)
    }
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadResponse {
        what: WHAT,
        problem: plain(problem),
    }
}
