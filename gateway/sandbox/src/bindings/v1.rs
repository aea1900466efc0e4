//! Version 1.0, from `wit/`.

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package gateway:host;

        world host {
            import auth-gateway:plugin/types@1.0.0;
            import auth-gateway:plugin/users@1.0.0;
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/secrets@1.0.0;
            import auth-gateway:plugin/key-value@1.0.0;
            import auth-gateway:plugin/logging@1.0.0;

            export auth-gateway:plugin/permission-provider@1.0.0;
            export auth-gateway:plugin/on-new-user@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
            export auth-gateway:plugin/on-user-logout@1.0.0;
        }
    ",
    imports: {
        "auth-gateway:plugin/users": async | trappable,
        "auth-gateway:plugin/key-value": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

pub(crate) use self::auth_gateway::plugin::{config, key_value, logging, secrets, types, users};
pub(crate) use self::exports::auth_gateway::plugin::{
    on_new_user, on_user_login, on_user_logout, permission_provider,
};
