//! The WASI draft for key-value stores, under the grant `key-value`: one store, the plugin's own.

use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::wasi_keyvalue::atomics;
use crate::bindings::wasi_keyvalue::store::{self, Error, KeyResponse};
use crate::guest::GuestState;
use crate::values::{MAX_KEYS, Refusal};

/// What the plugin's own store may be called.
const OWN: [&str; 2] = ["", "default"];

/// An open store.
#[derive(Debug, Default)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    /// The last key of each page that has been listed: where the one after it begins. A cursor is the
    /// number of pages before.
    pages: Vec<String>,
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    atomics::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Other(match refusal {
            Refusal::Invalid(rule) => rule,
            Refusal::Full => "the store is full".to_owned(),
            Refusal::Unavailable => "the store cannot be used at the moment".to_owned(),
        })
    }
}

impl store::Host for GuestState {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        if !OWN.contains(&identifier.as_str()) {
            return Ok(Err(Error::NoSuchStore));
        }
        let bucket = self.table.push(Bucket::default());
        Ok(bucket.map_err(|_| Error::Other("too much is open".to_owned())))
    }
}

impl store::HostBucket for GuestState {
    async fn get(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.values.get(&key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.values.set(&key, &value, None).await.map_err(Error::from))
    }

    async fn delete(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.values.delete(&key).await.map(drop).map_err(Error::from))
    }

    async fn exists(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, Error>> {
        let value = self.values.get(&key).await;
        Ok(value.map(|value| value.is_some()).map_err(Error::from))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        let page = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let pages = &mut self.table.get_mut(&bucket)?.pages;
        if page > pages.len() {
            return Ok(Err(Error::Other("no such cursor".to_owned())));
        }
        pages.truncate(page);
        let after = pages.last().map(String::as_str);
        let keys = match self.values.keys("", after, MAX_KEYS).await {
            Ok(keys) => keys,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let mut cursor = None;
        if let Some(last) = keys.last().filter(|_| keys.len() == MAX_KEYS) {
            pages.push(last.clone());
            cursor = u64::try_from(pages.len()).ok();
        }
        Ok(Ok(KeyResponse { keys, cursor }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for GuestState {
    /// Numbers of the draft have no sign, ours have: a sum outside of what both can say is an error. One
    /// below 0, which takes a value that was written by `set`, has been kept then.
    async fn increment(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let does_not_fit = || Error::Other("the sum does not fit".to_owned());
        let Ok(by) = i64::try_from(delta) else {
            return Ok(Err(does_not_fit()));
        };
        Ok(match self.values.increment(&key, by).await {
            Ok(sum) => u64::try_from(sum).map_err(|_| does_not_fit()),
            Err(refusal) => Err(refusal.into()),
        })
    }
}
