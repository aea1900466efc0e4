//! The types and exports of the plugin interface, generated from the `.wit` files that plugin authors compile against.
//!
//! The world is the host's own: it exports every interface that the gateway calls, and no component has to match it as
//! a whole. [`crate::exports`] looks up one interface at a time. The interfaces that plugins import are generated
//! beside their implementations, in [`crate::grants`].

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package gateway:host;

        world host {
            import auth-gateway:plugin/types@1.0.0;

            export auth-gateway:plugin/permission-provider@1.0.0;
            export auth-gateway:plugin/on-new-user@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
            export auth-gateway:plugin/on-user-logout@1.0.0;
        }
    ",
    exports: { default: async },
});

pub(crate) use self::auth_gateway::plugin::types;
pub(crate) use self::exports::auth_gateway::plugin::{
    on_new_user, on_user_login, on_user_logout, permission_provider,
};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sha2::{Digest as _, Sha256};

    /// The files of version 1.0.0. Interfaces that are added later have their own files.
    const PUBLISHED: [&str; 11] = [
        "config",
        "key-value",
        "logging",
        "on-new-user",
        "on-user-login",
        "on-user-logout",
        "permission-provider",
        "secrets",
        "types",
        "users",
        "worlds",
    ];

    #[test]
    fn published_interfaces_do_not_change() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut digest = Sha256::new();
        for name in PUBLISHED {
            let file = format!("{name}.wit");
            digest.update(&file);
            digest.update(fs::read(wit.join(file)).unwrap());
        }
        assert_eq!(
            hex::encode(digest.finalize()),
            "20d3f470dacde5fbf7460e278b3a7e7e552566ed60f06b9e275b1e8369a4c9d6",
            "version 1.0.0 is published, and components are compiled against it: a change needs a new version"
        );
    }
}
