//! The example plugins as compiled components. `gateway dev` serves those that need nothing set up; each
//! one's directory has its source and a README that teaches how it is made.

mod built {
    include!(concat!(env!("OUT_DIR"), "/guests.rs"));
}

/// An example plugin.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What it is called in the configuration: its file is `<plugin dir>/<name>.wasm`.
    pub name: &'static str,
    /// What it does, in a sentence.
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

/// An extension that lets people in by the domain of their email address, and stamps the domain on
/// them as the attribute `email-domain`.
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

/// A permission provider with roles from the groups that people had at their upstream provider when they
/// signed in: an extension keeps them.
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

/// Those that `gateway dev` serves, by name: they work without anything around them.
pub const ALL: &[Example] = &[EMAIL_DOMAINS, EXAMPLE, ROLES];

/// Those that have something to do with the world outside: an upstream provider's groups, a policy service,
/// a webhook.
pub const CONNECTED: &[Example] = &[POLICY, STORED_ROLES, WEBHOOK];
