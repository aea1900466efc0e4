//! `providers.NAME.sign_out`: how far a sign-out goes.

use gateway_upstream::{ProviderKind, SignOut};

use super::{Layers, Origin};
use crate::config::file::Setting;
use crate::config::value::Value;

impl Value for SignOut {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "provider" => Ok(Self::Provider),
            _ => Err("local or provider".into()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Local => "local".into(),
            Self::Provider => "provider".into(),
        }
    }
}

/// Reads it for a provider of this kind. Only OpenID Connect has a way to sign people out.
pub(super) fn sign_out(
    layers: &mut Layers<'_>,
    key: &str,
    variable: &str,
    in_file: Setting,
    kind: Option<&ProviderKind>,
) -> SignOut {
    let Some((sign_out, origin)) = layers.optional::<SignOut>(key, variable, in_file) else {
        layers.show(key, SignOut::default().show(), Origin::Default);
        return SignOut::default();
    };
    let can = matches!(kind, None | Some(ProviderKind::Oidc { .. }));
    if sign_out == SignOut::Provider && !can {
        layers.mistake(
            Some(origin),
            key,
            "must be local: only OpenID Connect lets applications sign people out at the provider",
        );
    }
    sign_out
}
