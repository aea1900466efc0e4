//! `[pages]`: the appearance of the pages that users see.

use std::path::Path;
use std::sync::Arc;

use crate::config::field::Context;
use crate::config::layers::{Layers, Place};
use crate::config::settings::Pages;
use crate::pages::Branding;
use crate::pages::branding::{Logo, MAX_LOGO};
use crate::small_file;

pub(super) fn branding(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> Arc<Branding> {
    const LOGO: &str = "pages.logo";
    let pages = Pages::read(layers, &file.section("pages"), cx);
    let logo = pages.logo.and_then(|path| match read(&path) {
        Ok(logo) => Some(logo),
        Err(wrong) => {
            layers.reject(LOGO, format!("{}: {wrong}", path.display()));
            None
        }
    });
    Arc::new(Branding::new(pages.name, logo, pages.accent))
}

fn read(path: &Path) -> Result<Logo, String> {
    let most = u64::try_from(MAX_LOGO).unwrap_or(u64::MAX);
    let (bytes, _) = small_file::read(path, most).map_err(|error| format!("cannot be read: {error}"))?;
    Logo::new(bytes).map_err(|error| error.to_string())
}
