//! `gateway user export`: all users, one JSON object per line.

use std::io::{self, Write};

use anyhow::Context as _;
use gateway_model::User;
use gateway_store::Store;

use super::for_all;

/// Prints every user, then checks the database. If it is damaged, users may be missing from the output, but never
/// without an error.
pub(super) async fn export(store: &Store, out: &mut impl Write) -> anyhow::Result<()> {
    let printed = for_all(store, |user| print(&user, out)).await;
    out.flush()?;
    printed?;
    store
        .check()
        .await
        .context("users may be missing from the export")
}

fn print(user: &User, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, user).map_err(io::Error::from)?;
    writeln!(out)
}
