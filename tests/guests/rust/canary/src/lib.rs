//! Plants the user's id wherever a Rust guest can keep something, after it has looked there for another's.
//!
//! What is planted says where: `<place>:<id>`. It is looked for by reading the whole memory, pages that were
//! added just now included, so that nothing depends on how the allocator or the stack behaves.
//!
//! | module | what it does |
//! |---|---|
//! | [`plant`] | leaves ids behind |
//! | [`scan`] | finds them |

mod plant;
mod scan;

use std::env;

wit_bindgen::generate!({ world: "provider", path: "../../../../wit" });

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(_service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let pages = plant::grow();
        let mut found = scan::foreign(&user_id);
        if env::var_os(VARIABLE).is_some() {
            found.insert("environment".to_owned());
        }
        for (place, plant) in plant::PLACES {
            plant(place, &user_id);
        }
        plant::fill_pages(pages, "grown", &user_id);
        // SAFETY: there is one thread.
        unsafe { env::set_var(VARIABLE, &user_id) };
        let looked = plant::PLACES.iter().map(|(place, _)| *place);
        Ok(vec![
            text("user", user_id),
            text(
                "looked",
                words(looked.chain(["argument", "environment", "grown"])),
            ),
            text("found", words(found.iter().map(String::as_str))),
        ])
    }
}

/// Set by each call.
const VARIABLE: &str = "PLANTED";

/// In order.
fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<_> = words.collect();
    words.sort_unstable();
    words.join(" ")
}

fn text(name: &str, value: String) -> Permission {
    Permission {
        name: name.to_owned(),
        value: Value::Text(value),
    }
}
