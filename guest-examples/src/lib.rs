//! The example plugins as compiled components. `gateway dev` serves those that need no setup. The directory of each has
//! its source and a README that explains it.

mod built {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

/// An example plugin.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The name in the configuration. The file is `<plugin dir>/<name>.wasm`.
    pub name: &'static str,
    /// One sentence that says what it does.
    pub description: &'static str,
    /// The grants it needs, by name.
    pub grants: &'static [&'static str],
    /// The component.
    pub wasm: &'static [u8],
}

/// A permission provider that answers `{"provider-token": "<service>-<user id>"}`.
pub const EXAMPLE: Example = Example {
    name: "example",
    description: "a permission provider that answers which service was asked about which user",
    grants: &[],
    wasm: built::EXAMPLE,
};

/// A permission provider that reads roles, and who has them, from its settings.
pub const ROLES: Example = Example {
    name: "roles",
    description: "a permission provider with roles from the configuration",
    grants: &["config", "users"],
    wasm: built::ROLES,
};

/// An extension that admits people by the domain of their email address, and sets the attribute `email-domain`.
pub const EMAIL_DOMAINS: Example = Example {
    name: "email-domains",
    description: "an extension that lets only some email domains in",
    grants: &["config"],
    wasm: built::EMAIL_DOMAINS,
};

/// A permission provider that asks an HTTP policy service and caches its answers.
pub const POLICY: Example = Example {
    name: "policy",
    description: "a permission provider that asks an HTTP policy service and caches its answers",
    grants: &["config", "http", "key-value", "logging", "secrets", "users"],
    wasm: built::POLICY,
};

/// A permission provider with roles from people's groups at their upstream provider. Its hook stores the groups at each
/// sign-in.
pub const STORED_ROLES: Example = Example {
    name: "stored-roles",
    description: "roles from the upstream provider's groups, kept from sign-in to sign-in",
    grants: &["config", "key-value"],
    wasm: built::STORED_ROLES,
};

/// An extension that posts new users to a webhook, signed.
pub const WEBHOOK: Example = Example {
    name: "webhook",
    description: "an extension that tells a webhook of new users",
    grants: &["config", "http", "logging", "secrets"],
    wasm: built::WEBHOOK,
};

/// The examples that `gateway dev` serves, because they need nothing else.
pub const ALL: &[Example] = &[EMAIL_DOMAINS, EXAMPLE, ROLES];

/// The examples that need something else: an upstream provider's groups, a policy service, a webhook.
pub const CONNECTED: &[Example] = &[POLICY, STORED_ROLES, WEBHOOK];
