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
            directory: "rust-role-provider",
            guests: &["roles"],
        },
    ];
    guest_build::guests(&workspaces, &["../wit"])
}
