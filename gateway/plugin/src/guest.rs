//! What the host keeps for one instance during its one call: the data of its store.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{User, UserId};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::UserLookup;
use crate::limiter::Limiter;
use crate::log::GuestLog;

/// Most WASI resources (streams, pollables) that a call may hold at once.
const MAX_RESOURCES: usize = 256;

/// The data of a store. Made for one call and dropped with it.
pub(crate) struct GuestState {
    pub(crate) limiter: Limiter,
    pub(crate) log: GuestLog,
    pub(crate) settings: Arc<BTreeMap<String, String>>,
    pub(crate) users: UserSource,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// Where the grant `users` looks.
#[derive(Clone, Debug)]
pub(crate) enum UserSource {
    /// In the database.
    Real(Arc<dyn UserLookup>),
    /// In a trial call: nobody but the invented user exists.
    Invented(Arc<User>),
}

impl UserSource {
    /// The user with this id.
    ///
    /// # Errors
    /// When the database cannot be read; the text is for the log.
    pub(crate) async fn lookup(&self, id: &UserId) -> Result<Option<User>, String> {
        match self {
            Self::Real(users) => users.lookup_user(id).await,
            Self::Invented(user) => Ok((user.id == *id).then(|| user.as_ref().clone())),
        }
    }
}

impl GuestState {
    /// The data for one call that may use `memory` bytes and writes to `log`.
    pub(crate) fn new(
        memory: usize,
        log: GuestLog,
        settings: Arc<BTreeMap<String, String>>,
        users: UserSource,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            limiter: Limiter::new(memory),
            wasi: crate::wasi::empty_context(&log),
            log,
            settings,
            users,
            table,
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
