//! Compiles the example plugins.

use std::process::ExitCode;

use guest_build::Workspace;

fn main() -> ExitCode {
    let workspaces = [
        Workspace {
            directory: "rust-email-domains",
            guests: &["email_domains"],
        },
        Workspace {
            directory: "rust-example-provider",
            guests: &["example"],
        },
        Workspace {
            directory: "rust-http-policy",
            guests: &["policy"],
        },
        Workspace {
            directory: "rust-key-value-roles",
            guests: &["stored_roles"],
        },
        Workspace {
            directory: "rust-role-provider",
            guests: &["roles"],
        },
        Workspace {
            directory: "rust-webhook",
            guests: &["webhook"],
        },
    ];
    guest_build::guests(&workspaces, &["../wit"])
}
