//! `gateway user export`: everybody; of a damaged database, everybody who can be read.

use std::io::{self, Write};

use gateway_model::User;
use gateway_store::{Salvage, Store};

use super::for_all;
use crate::cli::output::printable;
use crate::cli::{Shared, storage};

/// Prints everybody.
///
/// # Errors
/// Also where the database is damaged, and what can be read was printed.
pub(super) async fn run(shared: &Shared, out: &mut impl Write) -> anyhow::Result<()> {
    match sound(shared).await {
        Ok(store) => {
            for_all(&store, |user| print(&user, out)).await?;
            out.flush()?;
            Ok(store.close().await?)
        }
        Err(damage) if storage::is_damage(&damage) => {
            print_what_is_left(&storage::salvage(shared)?, out)?;
            Err(damage.context("what can be read was printed, but that is not everything"))
        }
        Err(error) => Err(error),
    }
}

/// Opens the database and makes sure that nobody is missed in it.
async fn sound(shared: &Shared) -> anyhow::Result<Store> {
    let store = storage::open_to_read(shared).await?;
    store.check().await?;
    Ok(store)
}

/// Prints whoever can be read, and says on stderr who cannot.
fn print_what_is_left(salvage: &Salvage, out: &mut impl Write) -> anyhow::Result<()> {
    let mut err = io::stderr().lock();
    for gap in salvage.gaps() {
        writeln!(err, "cannot be read to the end: {gap}")?;
    }
    for (id, user) in salvage.users() {
        let id = printable(id.as_str());
        match user {
            Ok(user) => {
                if user.identities.is_empty() {
                    writeln!(err, "user {id}: the identities cannot be read")?;
                }
                print(&user, out)?;
            }
            Err(error) => writeln!(err, "user {id}: cannot be read: {error}")?,
        }
    }
    out.flush()?;
    Ok(())
}

fn print(user: &User, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, user).map_err(io::Error::from)?;
    writeln!(out)
}
