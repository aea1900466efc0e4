//! Permission tokens: what one user may do in one service.

use gateway_model::PermissionMap;

/// The claims of a permission token (RFC 7519 section 4, and three of the old service).
///
/// `service` is the audience. The registered `aud` is present only if the service is configured for it, because a
/// verifier that follows RFC 7519 section 4.1.3 rejects a token with an unexpected `aud`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PermissionClaims {
    /// The gateway: `EXTERNAL_ADDRESS`.
    pub iss: String,
    /// The user's id.
    pub sub: String,
    /// The user's id under the old service's name.
    pub userid: String,
    /// The service for which the permissions are.
    pub service: String,
    /// The permissions by name.
    pub permissions: PermissionMap,
    /// The audience, if the service is configured for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The hex SHA-256 of the component that answered.
    pub plugin: String,
    /// When the token was signed, in seconds since the Unix epoch.
    pub iat: u64,
    /// When the token expires, in seconds since the Unix epoch.
    pub exp: u64,
}
