//! The example plugins as compiled components. `gateway dev` serves them; each one's directory has its
//! source and a README that teaches how it is made.

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

/// All of them, by name.
pub const ALL: &[Example] = &[EMAIL_DOMAINS, EXAMPLE, ROLES];
