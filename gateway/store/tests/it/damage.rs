//! A damaged database is reported as one. `tests/faults/damage.rs` destroys every page and flips random bits.

use std::fs;

use gateway_store::StoreError;
use rusqlite::Connection;

use super::support::{Fixture, person};

/// SQL that no longer fits the schema is damage like any other.
#[tokio::test]
async fn a_changed_schema_is_reported_as_damage_that_names_the_file() {
    let f = Fixture::new().await;
    f.store.begin_sign_in(&person("google", "1", None)).await.unwrap();
    let path = f.path();
    f.store.close().await.unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, 'REFERENCES users (id)', 'REFERENCES users (if)')",
        )
        .unwrap();

    let store = f.open(path.clone()).await;
    let error = store.check().await.unwrap_err();
    store.close().await.unwrap();
    let name = path.display().to_string();
    assert!(
        matches!(&error, StoreError::Schema(detail) if detail.contains(&name)),
        "{error}"
    );
}

/// A caller who lists page after page would never come to the end.
#[tokio::test]
async fn users_whose_rows_lead_back_are_an_error() {
    let f = Fixture::new().await;
    for n in 0..2 {
        f.store
            .begin_sign_in(&person("google", &n.to_string(), None))
            .await
            .unwrap();
    }
    let first = f.store.list_users(None, 1).await.unwrap().remove(0).id;
    f.store.close().await.unwrap();
    let root: usize = Connection::open(f.path())
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'users'",
            [],
            |row| row.get::<_, u32>(0).map(|page| page as usize),
        )
        .unwrap();
    let mut bytes = fs::read(f.path()).unwrap();
    // The pointers to the page's two cells: SQLite's file format, section 1.6.
    let cells = (root - 1) * 4096 + 8;
    bytes[cells..cells + 4].rotate_left(2);
    fs::write(f.path(), bytes).unwrap();

    let store = f.open(f.path()).await;
    let error = store.list_users(Some(&first), 10).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(_)), "{error}");
    store.close().await.unwrap();
}
