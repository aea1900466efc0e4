//! The plugin interface in Rust, generated from the `.wit` files that plugin authors compile against.
//!
//! The world is the host's own: it has every import and every export of the package, and no component
//! has to match it as a whole. Imports are linked one grant at a time ([`crate::grants`]), exports are
//! looked up one interface at a time ([`crate::exports`]).

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package gateway:host;

        world host {
            import auth-gateway:plugin/types@0.1.0;
            import auth-gateway:plugin/users@0.1.0;
            import auth-gateway:plugin/config@0.1.0;
            import auth-gateway:plugin/logging@0.1.0;

            export auth-gateway:plugin/permission-provider@0.1.0;
            export auth-gateway:plugin/on-new-user@0.1.0;
            export auth-gateway:plugin/on-user-login@0.1.0;
            export auth-gateway:plugin/on-user-logout@0.1.0;
        }
    ",
    imports: { "auth-gateway:plugin/users": async | trappable, default: trappable },
    exports: { default: async },
});

pub(crate) use self::auth_gateway::plugin::{config, logging, types, users};
pub(crate) use self::exports::auth_gateway::plugin::{
    on_new_user, on_user_login, on_user_logout, permission_provider,
};
