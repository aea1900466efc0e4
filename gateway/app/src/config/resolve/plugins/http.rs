//! `[plugin.NAME.http]`: the origins to which a plugin may send requests.

use std::collections::BTreeSet;

use gateway_sandbox::{HttpConfig, HttpOrigin};

use crate::config::field::Context;
use crate::config::layers::{Layers, Place};
use crate::config::settings::Http;

pub(super) fn http(
    layers: &mut Layers<'_>,
    plugin: &Place<'_>,
    cx: &Context<'_>,
    granted: bool,
) -> HttpConfig {
    let (name, place) = (&plugin.name, plugin.section("http"));
    // A value that cannot be read has been reported; a warning that it is missing would be wrong.
    let mistakes = layers.mistakes.len();
    let http = Http::read(layers, &place, cx);
    let are_read = layers.mistakes.len() == mistakes;
    let config = HttpConfig {
        allow: http.allow,
        allow_private: http.allow_private,
        timeout: http.timeout,
        max_body: http.max_body,
        requests: http.requests,
    };
    if granted && config.allow.is_empty() && are_read {
        layers.warn_at(None, &place.key("allow"), format!(
            "the plugin {name:?} has the grant \"http\", but no plugin.{name}.http.allow, so it can reach nothing"
        ));
    }
    if !granted && config != HttpConfig::default() {
        layers.warn_at(None, &plugin.key("grants"), format!(
            "the plugin {name:?} has a section \"http\", but not the grant \"http\", so it cannot send requests"
        ));
    }
    let names: BTreeSet<&str> = config.allow.iter().filter_map(HttpOrigin::host_name).collect();
    let key = place.key("allow_private");
    for host in config.allow_private.iter().filter(|_| are_read) {
        if !names.contains(host.as_str()) {
            let message = format!(
                "plugin.{name}.http.allow_private contains {}, which is not a host in plugin.{name}.http.allow",
                host.as_str()
            );
            layers.warn_of(&key, message);
        }
    }
    config
}
