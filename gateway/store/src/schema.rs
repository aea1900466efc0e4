//! The schema. A database must have exactly the tables, indexes, views and triggers of its version: a planted trigger
//! would run on every write of the gateway.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{M, Migrations};

use crate::addresses;

/// "AuGW", which SQLite keeps at byte 68 of our databases.
pub(crate) const APPLICATION_ID: i32 = 0x4175_4757;

/// The history of the schema, oldest first. Landed files are never edited, removed or reordered.
pub(crate) static MIGRATIONS: LazyLock<[M<'static>; 7]> = LazyLock::new(|| {
    [
        M::up(include_str!("../../../migrations/0001_users_sessions_events.sql")),
        M::up(include_str!("../../../migrations/0002_plugin_values.sql")),
        M::up(include_str!(
            "../../../migrations/0003_bounds_and_separations.sql"
        )),
        M::up(include_str!("../../../migrations/0004_log_stamp_and_clock.sql")),
        M::up(include_str!("../../../migrations/0005_plugin_value_storage.sql")),
        // SQLite has no SHA-256.
        M::up_with_hook(
            include_str!("../../../migrations/0006_given_addresses.sql"),
            |transaction: &Transaction<'_>| Ok(addresses::fill(transaction)?),
        ),
        M::up(include_str!("../../../migrations/0007_upstream_sessions.sql")),
    ]
});

/// The number of migrations that this gateway has.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The schema's objects: type and name, with the table that each belongs to and its SQL.
type Objects = BTreeMap<(String, String), (String, Option<String>)>;

/// The tables that `ANALYZE` creates. They hold numbers for SQLite's planner, and no SQL.
const STATISTICS: [&str; 2] = ["sqlite_stat1", "sqlite_stat4"];

/// The first differences, by name, between a schema and that of its version.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// An object that is not ours.
    pub(crate) foreign: Option<String>,
    /// An object that is missing, or differs.
    pub(crate) missing: Option<String>,
}

/// Returns how many migrations a database has seen.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies those of the migrations that the database does not have yet.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[M<'_>]) -> rusqlite::Result<()> {
    let migrated = Migrations::from_slice(migrations).to_latest(connection);
    migrated.map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err,
        error => rusqlite::Error::ToSqlConversionFailure(error.to_string().into()),
    })
}

/// Compares the schema of a database with the one that its version should have.
pub(crate) fn compare(connection: &Connection, version: i64) -> rusqlite::Result<Difference> {
    let applied = usize::try_from(version)
        .ok()
        .filter(|version| *version > 0)
        .and_then(|version| MIGRATIONS.get(..version));
    let Some(applied) = applied else {
        let missing = format!("its version (`user_version`) is {version}, which no gateway leaves");
        return Ok(Difference {
            missing: Some(missing),
            foreign: None,
        });
    };
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh, applied)?;
    let expected = objects(&fresh)?;
    let mut found = objects(connection)?;
    found.retain(|(kind, name), _| kind != "table" || !STATISTICS.contains(&name.as_str()));
    let foreign = found.keys().find(|key| !expected.contains_key(*key));
    let foreign = foreign.map(|(kind, name)| {
        format!("the {kind} {name:?} does not belong to schema {version}: remove it if you know it")
    });
    let missing = expected
        .iter()
        .find(|(key, object)| found.get(*key) != Some(*object));
    let missing = missing.map(|((kind, name), _)| {
        format!("the {kind} {name:?} of schema {version} is missing, or somebody has changed it")
    });
    Ok(Difference { foreign, missing })
}

fn objects(connection: &Connection) -> rusqlite::Result<Objects> {
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| {
        Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
    })?;
    rows.collect()
}
