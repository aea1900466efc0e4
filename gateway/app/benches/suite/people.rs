//! Databases of people who are signed in, kept between runs until the schema changes.
//!
//! The first thousand go through the store, as the gateway's sign-ins do. A larger database is a copy of that
//! one, and has the rows of one of them once more for each further person, with other ids. That needs SQL, which
//! nobody else but the store has: a million sign-ins through the store, each of whose commits is on the disk, were not
//! done after ten minutes; this takes half a minute. The rows, the indices and the
//! events are the same; only, the people in the copy have signed in at the same second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use gateway_model::{
    Clock, Identity, Session, SessionId, SystemClock, SystemRandom, Timestamp, UpstreamUser, UserId,
    UserLimits, Verdict,
};
use gateway_store::{DatabaseUrl, Settled, Store, StoreOptions, UserIds};
use gateway_token::{SessionClaims, SessionKey};
use rusqlite::{Connection, OpenFlags, Row};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::http::EXTERNAL;
use crate::machine;

/// The secret from which the key of session tokens is derived.
pub(crate) const SECRET: &str = "a bench has no secrets, but it has to be 32 bytes long";

/// The lifetime of sessions, and the age up to which a database is used again: as long as settled events are kept. The
/// gateway would delete older ones during the measurement.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The least lifetime that remains when a database is used.
const MARGIN: Duration = Duration::from_secs(24 * 3600);

/// How many sign in through the store.
const FIRST: usize = 1_000;

/// A database with `count` people.
pub(crate) struct People {
    pub(crate) count: usize,
    pub(crate) database: PathBuf,
}

impl People {
    /// Session tokens of at most `at_most` of them, evenly spread over the database.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn tokens(&self, at_most: usize) -> Result<Vec<String>> {
        let key = SessionKey::derive(SECRET.as_bytes(), EXTERNAL, Arc::new(SystemRandom))?;
        let connection = self.read()?;
        // Ids are random, and so is their order.
        let mut sessions =
            connection.prepare("SELECT id, user_id, expires, created FROM sessions ORDER BY id")?;
        let tokens = sessions.query_map([], |row| {
            let claims = SessionClaims {
                session: SessionId::from(row.get::<_, String>(0)?),
                user: UserId::from(row.get::<_, String>(1)?),
                expires: Timestamp(seconds(row, 2)?),
            };
            Ok(key.issue(&claims, Timestamp(seconds(row, 3)?)))
        })?;
        let step = self.count.div_ceil(at_most).max(1);
        Ok(tokens.step_by(step).collect::<Result<_, _>>()?)
    }

    /// Whether its sessions live for long enough.
    fn is_fresh(&self) -> Result<bool> {
        let sql = "SELECT min(expires) FROM sessions";
        let first = self.read()?.query_row(sql, [], |row| seconds(row, 0))?;
        Ok(Timestamp(first) > SystemClock.now().after(MARGIN))
    }

    fn read(&self) -> Result<Connection> {
        Ok(Connection::open_with_flags(
            &self.database,
            OpenFlags::SQLITE_OPEN_READ_ONLY,
        )?)
    }
}

/// A moment, which SQLite has as a signed number.
fn seconds(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::unsigned_abs)
}

/// The database with `count` people: made, where it is not there.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn database(cache: &Path, count: usize) -> Result<People> {
    let directory = cache.join(format!("people-{}-{count}", schema()?));
    let people = People {
        count,
        database: directory.join("gateway.db"),
    };
    if directory.exists() {
        if people.is_fresh()? {
            return Ok(people);
        }
        std::fs::remove_dir_all(&directory)?;
    }
    let begun = Instant::now();
    let draft = tempfile::tempdir_in(cache)?;
    let file = draft.path().join("gateway.db");
    if count > FIRST {
        std::fs::copy(database(cache, FIRST)?.database, &file)?;
        multiply(&file, count)?;
    } else {
        fill(&file, count)?;
    }
    // It appears when it is whole.
    std::fs::rename(draft.keep(), &directory)?;
    eprintln!(
        "  a database of {count} people: made in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(people)
}

/// A digest of the migrations.
fn schema() -> Result<String> {
    let mut files = std::fs::read_dir(machine::workspace().join("migrations"))?
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        digest.update(std::fs::read(file)?);
    }
    Ok(hex::encode(&digest.finalize()[..4]))
}

/// A store on that database, as the gateway opens it.
pub(crate) async fn store(database: &Path) -> Result<Store> {
    let options = StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: UserIds::Random,
        event_retention: LIFETIME,
        limits: UserLimits::default(),
    };
    Ok(Store::open(&DatabaseUrl::File(database.to_owned()), options).await?)
}

/// Signs in `count` people.
#[tokio::main]
async fn fill(database: &Path, count: usize) -> Result<()> {
    let store = store(database).await?;
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let store = store.clone();
        tasks.spawn(async move { sign_in(&store, &person(number)).await });
    }
    while let Some(session) = tasks.join_next().await {
        session??;
    }
    Ok(store.close().await?)
}

/// Adds people who are like the first one until there are `count`.
fn multiply(database: &Path, count: usize) -> Result<()> {
    let connection = Connection::open(database)?;
    // Nobody else has the file, and it is thrown away if this fails. All of it fits into the page cache.
    connection.execute_batch(
        "PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA foreign_keys = on; PRAGMA cache_size = -1500000;
         BEGIN",
    )?;
    connection.execute(
        "CREATE TEMP TABLE new AS
             WITH RECURSIVE counted(number) AS
                 (VALUES (?1) UNION ALL SELECT number + 1 FROM counted WHERE number + 1 < ?2)
             SELECT number, lower(hex(randomblob(16))) AS user, lower(hex(randomblob(16))) AS session FROM counted",
        [i64::try_from(FIRST)?, i64::try_from(count)?],
    )?;
    let first: String =
        connection.query_row("SELECT user_id FROM identities WHERE subject = '0'", [], |row| {
            row.get(0)
        })?;
    let subject = ("subject", "CAST(new.number AS TEXT)");
    // Each in the order of its key, which is what makes it quick.
    copy(
        &connection,
        ("users", "id", &first),
        &[("id", "new.user"), ("name", "'Person ' || new.number")],
        "new.user",
    )?;
    copy(
        &connection,
        ("identities", "user_id", &first),
        &[("id", "new.number + 1"), ("user_id", "new.user"), subject],
        "new.number",
    )?;
    copy(
        &connection,
        ("sessions", "user_id", &first),
        &[
            ("id", "new.session"),
            ("user_id", "new.user"),
            ("identity_id", "new.number + 1"),
        ],
        "new.session",
    )?;
    copy(
        &connection,
        ("events", "user_id", &first),
        &[
            ("sequence", "NULL"),
            ("id", "lower(hex(randomblob(16)))"),
            ("user_id", "new.user"),
            subject,
        ],
        "new.number",
    )?;
    connection.execute_batch("COMMIT")?;
    connection.execute_batch("PRAGMA journal_mode = wal")?;
    let people: i64 = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    ensure!(
        usize::try_from(people)? == count,
        "{people} people in place of {count}"
    );
    Ok(())
}

/// For each new person, a copy of the rows that the first one has in a table: other values in some columns,
/// the same ones in the rest.
fn copy(
    connection: &Connection,
    (table, whose, first): (&str, &str, &str),
    other: &[(&str, &str)],
    order: &str,
) -> Result<()> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns = statement
        .query_map([table], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    let values: Vec<String> = columns
        .iter()
        .map(|column| {
            let other = other.iter().find(|(name, _)| name == column);
            other.map_or_else(|| format!("old.{column}"), |(_, value)| (*value).to_owned())
        })
        .collect();
    let sql = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM new CROSS JOIN {table} AS old ON old.{whose} = ?1 ORDER BY {order}",
        columns.join(", "),
        values.join(", ")
    );
    let copied = connection.execute(&sql, [first])?;
    ensure!(copied > 0, "nothing was copied in {table}");
    Ok(())
}

/// Somebody.
pub(crate) fn person(number: usize) -> UpstreamUser {
    UpstreamUser {
        identity: Identity {
            provider: "bench".to_owned(),
            issuer: "https://bench.example.org".to_owned(),
            subject: number.to_string(),
        },
        email: None,
        name: format!("Person {number}"),
        avatar_url: Some("https://img.example.org/a.png".to_owned()),
        claims: gateway_model::Claims::default(),
        session: gateway_model::UpstreamSession::default(),
    }
}

/// A sign-in whose hooks have nothing against it: two writes.
pub(crate) async fn sign_in(store: &Store, person: &UpstreamUser) -> Result<Session> {
    let pending = store.begin_sign_in(person).await?;
    let yes = Verdict::Accepted(Default::default());
    let settled = store
        .settle_sign_in(&pending, Some(&yes), Some(&yes), LIFETIME)
        .await?;
    match settled {
        Settled::SignedIn { session, .. } => Ok(session),
        settled => bail!("nobody signed in: {settled:?}"),
    }
}
