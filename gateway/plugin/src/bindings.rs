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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sha2::{Digest as _, Sha256};

    /// What version 0.1.0 is: the digest of its files, in the order of their names, comments included.
    const PUBLISHED: &str = "3ab82748b300c816201dd2b4396d3f26f9563fca0d7acfd04391b5efd5cfecff";

    #[test]
    fn a_published_interface_does_not_change() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
            .collect();
        files.sort();
        let mut digest = Sha256::new();
        for file in files {
            digest.update(file.file_name().unwrap().as_encoded_bytes());
            digest.update(fs::read(file).unwrap());
        }
        assert_eq!(
            hex::encode(digest.finalize()),
            PUBLISHED,
            "version 0.1.0 is published, and components are compiled against it: a change is a new version"
        );
    }
}
