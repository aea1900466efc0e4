//! Version 0.1, from the frozen `wit/0.1.0`. Its `types` are all in version 1.0 as well, so that
//! they are the same in Rust.

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
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
    with: { "auth-gateway:plugin/types@0.1.0": crate::bindings::v1::auth_gateway::plugin::types },
});

pub(crate) use self::auth_gateway::plugin::{config, logging, users};
pub(crate) use self::exports::auth_gateway::plugin::{
    on_new_user, on_user_login, on_user_logout, permission_provider,
};
