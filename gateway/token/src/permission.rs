//! What a permission token says: what one user may do in one service.

use gateway_model::PermissionMap;

/// The claims of a permission token (RFC 7519 section 4, and the old service's own three).
///
/// `service` is the audience. The registered `aud` is there only where the service is configured for
/// it, because a verifier that follows RFC 7519 section 4.1.3 refuses a token with an `aud` it did not
/// ask for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PermissionClaims {
    /// The gateway: `EXTERNAL_ADDRESS`.
    pub iss: String,
    /// The user's id.
    pub sub: String,
    /// The same, under the old service's name.
    pub userid: String,
    /// The service the permissions are for.
    pub service: String,
    /// Name to JSON value.
    pub permissions: PermissionMap,
    /// Only where the service is configured for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Hex SHA-256 of the component that answered.
    pub plugin: String,
    /// When signed, in seconds since the Unix epoch.
    pub iat: u64,
    /// When it ends, in seconds since the Unix epoch.
    pub exp: u64,
}
