//! `[pages]`: what the pages look like that people see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Layers, Origin};
use crate::config::file;
use crate::config::value::{Accent, PageName};
use crate::pages::Branding;
use crate::pages::branding::{self, Logo, MAX_LOGO};
use crate::small_file;

pub(super) fn branding(layers: &mut Layers<'_>, file: file::Pages) -> Arc<Branding> {
    let PageName(name) = layers.value(
        "pages.name",
        "GATEWAY_PAGES_NAME",
        file.name,
        PageName(branding::NAME.to_owned()),
    );
    let logo: Option<(PathBuf, Origin)> = layers.optional("pages.logo", "GATEWAY_PAGES_LOGO", file.logo);
    let logo = logo.and_then(|(path, origin)| match read(&path) {
        Ok(logo) => Some(logo),
        Err(wrong) => {
            layers.mistake(Some(origin), "pages.logo", format!("{}: {wrong}", path.display()));
            None
        }
    });
    let Accent(accent) = layers.value(
        "pages.accent",
        "GATEWAY_PAGES_ACCENT",
        file.accent,
        Accent(branding::ACCENT),
    );
    Arc::new(Branding::new(name, logo, accent))
}

fn read(path: &Path) -> Result<Logo, String> {
    let most = u64::try_from(MAX_LOGO).unwrap_or(u64::MAX);
    let (bytes, _) = small_file::read(path, most).map_err(|error| format!("cannot be read: {error}"))?;
    Logo::new(bytes).map_err(|error| error.to_string())
}
