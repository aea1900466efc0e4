//! A provider that logs the service's name at each level. For `flood` it logs a hundred thousand long lines, and for
//! `control` lines with control characters, line breaks and terminal escape codes.

wit_bindgen::generate!({
    inline: r#"
        package test:imports-logging;
        world guest {
            import auth-gateway:plugin/logging@1.0.0;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::logging::{Level, log};
use auth_gateway::plugin::types::Permission;
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, _user_id: String) -> Result<Vec<Permission>, ProviderError> {
        for level in [Level::Debug, Level::Info, Level::Warn, Level::Error] {
            log(level, &service);
        }
        match service.as_str() {
            "flood" => {
                let line = "flood ".repeat(100);
                (0..100_000).for_each(|_| log(Level::Info, &line));
            }
            "control" => log(
                Level::Info,
                "one\r\ntwo\n{\"forged\":true}\u{1b}[31mred\u{0}\u{7f}\u{2028}",
            ),
            _ => {}
        }
        Ok(Vec::new())
    }
}
