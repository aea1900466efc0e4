//! Plants the user's id in every place where a Rust guest can keep something, after searching it for another user's.
//!
//! The planted text is `<place>:<id>`. The search reads the whole memory, including pages just added, so that it does
//! not depend on the allocator or the stack.
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
