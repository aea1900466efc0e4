//! `[plugin.NAME.http]`: where a plugin may send requests.

use std::collections::BTreeSet;

use gateway_plugin::{HostName, HttpConfig, HttpOrigin};

use super::super::{Layers, Origin, in_variable};
use crate::config::file;
use crate::config::value::{Bytes, Count, Value};

pub(super) fn http(
    layers: &mut Layers<'_>,
    name: &str,
    file: file::Http,
    base: HttpConfig,
    from: &Origin,
    granted: bool,
) -> HttpConfig {
    let key = |setting: &str| format!("plugin.{name}.http.{setting}");
    let variable = {
        let name = in_variable(name);
        move |setting: &str| format!("GATEWAY_PLUGIN_{name}_HTTP_{setting}")
    };
    // What was set and cannot be read is a mistake already, and no reason to say that nothing was set.
    let mistakes = layers.mistakes.len();
    let default = HttpConfig::default();
    let allow: BTreeSet<HttpOrigin> = set(
        layers,
        &key("allow"),
        &variable("ALLOW"),
        file.allow,
        base.allow,
        from,
    );
    let allow_private: BTreeSet<HostName> = set(
        layers,
        &key("allow_private"),
        &variable("ALLOW_PRIVATE"),
        file.allow_private,
        base.allow_private,
        from,
    );
    let are_read = layers.mistakes.len() == mistakes;
    let requests = Count(u64::try_from(base.requests).unwrap_or(u64::MAX));
    let config = HttpConfig {
        allow,
        allow_private,
        timeout: layers.value_or(
            &key("timeout"),
            &variable("TIMEOUT"),
            file.timeout,
            base.timeout,
            from.clone(),
        ),
        max_body: layers
            .value_or(
                &key("max_body"),
                &variable("MAX_BODY"),
                file.max_body,
                Bytes(base.max_body),
                from.clone(),
            )
            .0,
        requests: layers
            .value_or(
                &key("requests"),
                &variable("REQUESTS"),
                file.requests,
                requests,
                from.clone(),
            )
            .as_usize(),
    };
    if granted && config.allow.is_empty() && are_read {
        layers.warn_at(None, &key("allow"), format!(
            "the plugin {name:?} has the grant \"http\", but no plugin.{name}.http.allow, so it can reach nothing"
        ));
    }
    if !granted && config != default {
        layers.warn_at(None, &format!("plugin.{name}.grants"), format!(
            "the plugin {name:?} has a section \"http\", but not the grant \"http\", so it can send no requests"
        ));
    }
    let names: BTreeSet<&str> = config.allow.iter().filter_map(HttpOrigin::host_name).collect();
    for host in config.allow_private.iter().filter(|_| are_read) {
        if !names.contains(host.as_str()) {
            layers.warn_at(
                layers.origin(&key("allow_private")),
                &key("allow_private"),
                format!(
                    "plugin.{name}.http.allow_private has {}, which is no host of plugin.{name}.http.allow",
                    host.as_str()
                ),
            );
        }
    }
    config
}

/// Several values, in place of those of `base` where anybody says.
fn set<T: Value + Ord>(
    layers: &mut Layers<'_>,
    key: &str,
    variable: &str,
    in_file: file::List,
    base: BTreeSet<T>,
    from: &Origin,
) -> BTreeSet<T> {
    let values = layers.values::<T>(key, variable, in_file);
    let origin = values.as_ref().map_or_else(
        || from.clone(),
        |values| {
            values
                .first()
                .map_or(Origin::Default, |(_, origin)| origin.clone())
        },
    );
    let values = values.map_or(base, |values| {
        values.into_iter().map(|(value, _)| value).collect()
    });
    let shown: Vec<String> = values.iter().map(Value::show).collect();
    layers.show_list(key, &shown, origin);
    values
}
