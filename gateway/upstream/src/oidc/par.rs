//! Pushed authorization requests (RFC 9126): the gateway sends the parameters to the provider, and the browser carries
//! only a reference.

use http::StatusCode;
use url::Url;

use super::Oidc;
use super::metadata::{self, Metadata, unfit};
use crate::authorize::{self, Parameters};
use crate::config::Par;
use crate::error::UpstreamError;
use crate::http::{Http, Requests};
use crate::json::Members;

const WHAT: &str = "the endpoint for pushed authorization requests";
/// The longest reference, in bytes. It becomes part of a redirect.
const MAX_REFERENCE: usize = 1024;

/// The endpoint, if requests are pushed.
///
/// # Errors
/// When the provider does not support the setting.
fn endpoint(metadata: &Metadata, http: &Http, setting: Par) -> Result<Option<Url>, UpstreamError> {
    let members = metadata.members();
    if setting == Par::Never {
        return Ok(None);
    }
    let required = members
        .flag("require_pushed_authorization_requests")
        .map_err(|error| unfit(&error))?
        .unwrap_or_default();
    if setting == Par::Auto && !required {
        return Ok(None);
    }
    let endpoint = members
        .url("pushed_authorization_request_endpoint")
        .map_err(|error| unfit(&error))?
        .ok_or_else(|| {
            metadata::bad(
                "`pushed_authorization_request_endpoint` is missing; set par = \"never\" if the provider does not need it",
            )
        })?;
    metadata::asked(endpoint, http).map(Some)
}

impl Oidc {
    /// The URL for the browser, and whether the parameters were pushed.
    pub(super) async fn authorization_url(
        &self,
        requests: &Requests<'_>,
        metadata: &Metadata,
        parameters: &Parameters<'_>,
    ) -> Result<(Url, bool), UpstreamError> {
        Ok(match endpoint(metadata, &self.http, self.client.config.par)? {
            Some(endpoint) => (self.push(requests, metadata, &endpoint, parameters).await?, true),
            None => (
                authorize::url(&metadata.authorization_endpoint, parameters),
                false,
            ),
        })
    }

    /// Pushes a request, and returns the URL for the browser.
    async fn push(
        &self,
        requests: &Requests<'_>,
        metadata: &Metadata,
        endpoint: &Url,
        parameters: &Parameters<'_>,
    ) -> Result<Url, UpstreamError> {
        let config = &self.client.config;
        // Section 2.1 requires the parameter. Client authentication in the form adds it already.
        let method = config.client_auth.method(metadata.auth_methods.as_deref());
        let in_header = method == "client_secret_basic";
        let form: Parameters<'_> = parameters
            .iter()
            .filter(|(name, _)| in_header || name != "client_id")
            .cloned()
            .collect();
        let answer = self
            .client
            .post(requests, WHAT, endpoint, Self::server(metadata), &form)
            .await?;
        // Section 2.2 requires 201. Some providers answer 200.
        if !matches!(answer.status, StatusCode::CREATED | StatusCode::OK) {
            return Err(UpstreamError::PushRefused(answer.refusal()));
        }
        let reference = Members(&answer.members)
            .required_text("request_uri")
            .map_err(|unfit| UpstreamError::bad_response(WHAT, unfit))?;
        if reference.len() > MAX_REFERENCE {
            let problem = "`request_uri` is longer than 1,024 bytes";
            return Err(UpstreamError::bad_response(WHAT, problem));
        }
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &config.client_id)
            .append_pair("request_uri", reference);
        Ok(url)
    }
}
