//! What the host keeps for one instance during its one call: the data of its store.

use std::sync::Arc;

use gateway_model::{User, UserId};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::http::{Http, Network};
use crate::limiter::Limiter;
use crate::log::{GuestLog, Transcript};
use crate::registry::Generation;
use crate::values::Values;
use crate::{KeyValueStore, PluginConfig, ScratchValues, UserLookup};

/// Most WASI resources (streams, pollables) that a call may hold at once.
pub(crate) const MAX_RESOURCES: usize = 256;

/// The data of a store. Made for one call and dropped with it.
pub(crate) struct GuestState {
    pub(crate) limiter: Limiter,
    pub(crate) log: GuestLog,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) users: Arc<dyn UserLookup>,
    pub(crate) values: Values,
    pub(crate) http: Http,
    pub(crate) table: ResourceTable,
    wasi: WasiCtx,
}

/// Where the grants of a call look.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) users: Arc<dyn UserLookup>,
    pub(crate) values: Arc<dyn KeyValueStore>,
    /// `None` where nothing can be reached.
    pub(crate) network: Option<Arc<Network>>,
    /// Who hears what the guest writes, beside the gateway's log.
    pub(crate) transcript: Option<Transcript>,
}

impl Sources {
    /// Those of a trial call: nobody exists but this user, what it keeps goes with it, and there is no
    /// network.
    pub(crate) fn trial(user: User) -> Self {
        Self {
            users: Arc::new(Invented(user)),
            values: Arc::new(ScratchValues::default()),
            network: None,
            transcript: None,
        }
    }
}

/// Nobody else exists.
#[derive(Debug)]
struct Invented(User);

#[async_trait::async_trait]
impl UserLookup for Invented {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        Ok((self.0.id == *id).then(|| self.0.clone()))
    }
}

impl GuestState {
    /// The data for one call of the generation, which writes to `log`.
    pub(crate) fn new(generation: &Generation, log: GuestLog, sources: Sources) -> Self {
        let config = &generation.config;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            limiter: Limiter::new(config.limits.memory, generation.memory.clone()),
            wasi: crate::wasi::empty_context(&log),
            http: Http::new(
                Arc::clone(&generation.plugin),
                log.function(),
                Arc::clone(config),
                sources.network,
            ),
            log,
            config: Arc::clone(config),
            users: sources.users,
            values: Values::new(Arc::clone(&generation.plugin), sources.values, &config.limits),
            table,
        }
    }
}

impl GuestState {
    /// The instance's one call begins, of `function`: it has its share of log lines and requests to itself,
    /// whatever was used while the instance was made.
    pub(crate) fn begin(&mut self, function: &'static str) {
        self.log.begin(function);
        self.http.begin(function);
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
