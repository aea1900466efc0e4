//! The grant `key-value`: values that the plugin stores between calls.

use std::time::Duration;

use gateway_model::ValueChange;
use wasmtime::component::HasSelf;

use self::wit::key_value::{self, Error};
use super::linker::Definition;
use crate::guest::GuestState;
use crate::values::Refusal;

/// Generated from `wit/key-value.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import auth-gateway:plugin/key-value@1.0.0;",
        imports: { default: async | trappable },
    });
    pub(super) use self::auth_gateway::plugin::key_value;
}

pub(super) const DEFINITION: Definition = Definition {
    name: "key-value",
    imports: &["auth-gateway:plugin/key-value@1.0.0"],
    wit: Some(include_str!("../../../../wit/key-value.wit")),
    link: |linker| key_value::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state),
};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(rule) => Self::Invalid(rule),
            Refusal::Full => Self::Full,
            Refusal::Unavailable => Self::Unavailable,
        }
    }
}

impl key_value::Host for GuestState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.values.get(&key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        lifetime: Option<u64>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let lifetime = lifetime.map(Duration::from_secs);
        let changed = self.values.change(&key, ValueChange::Set { value, lifetime });
        Ok(changed.await.map(drop).map_err(Error::from))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<bool, Error>> {
        let changed = self.values.change(&key, ValueChange::Delete).await;
        Ok(changed.map(|changed| changed.done).map_err(Error::from))
    }

    async fn increment(&mut self, key: String, by: i64) -> wasmtime::Result<Result<i64, Error>> {
        let changed = self.values.change(&key, ValueChange::Increment(by)).await;
        Ok(changed.map(|changed| changed.sum).map_err(Error::from))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        old: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
    ) -> wasmtime::Result<Result<bool, Error>> {
        let change = ValueChange::CompareAndSet { old, new };
        let changed = self.values.change(&key, change).await;
        Ok(changed.map(|changed| changed.done).map_err(Error::from))
    }

    async fn list_keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self
            .values
            .keys(&prefix, after.as_deref(), limit)
            .await
            .map_err(Error::from))
    }
}
