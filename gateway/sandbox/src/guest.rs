//! What the host keeps for one instance during its one call: the data of its store.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{Identity, Timestamp, User, UserId, UserStatus};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::http::{Http, Network};
use crate::limiter::Limiter;
use crate::log::{GuestLog, Transcript};
use crate::memory::MemoryShare;
use crate::values::Values;
use crate::{KeyValueStore, PluginConfig, ScratchValues, UserLookup};

/// Most WASI resources (streams, pollables) that a call may hold at once.
pub const MAX_RESOURCES: usize = 256;

/// The data of a store. Made for one call and dropped with it.
pub struct GuestState {
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
pub struct HostServices {
    /// Who can be looked up.
    pub users: Arc<dyn UserLookup>,
    /// What plugins keep.
    pub values: Arc<dyn KeyValueStore>,
    /// `None` where nothing can be reached.
    pub network: Option<Arc<Network>>,
    /// Who hears what the guest writes, beside the gateway's log.
    pub transcript: Option<Transcript>,
}

impl HostServices {
    /// Those of a trial call: nobody exists but this user, what it keeps goes with it, and there is no
    /// network.
    pub fn trial(user: User) -> Self {
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
    /// The data for one call, which writes to `log`.
    pub(crate) fn new(
        plugin: &Arc<str>,
        config: &Arc<PluginConfig>,
        memory: Option<Arc<MemoryShare>>,
        log: GuestLog,
        services: HostServices,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            limiter: Limiter::new(config.limits.memory, memory),
            wasi: crate::wasi::empty_context(&log),
            http: Http::new(
                Arc::clone(plugin),
                log.function(),
                Arc::clone(config),
                services.network,
            ),
            log,
            config: Arc::clone(config),
            users: services.users,
            values: Values::new(Arc::clone(plugin), services.values, &config.limits),
            table,
        }
    }
}

impl GuestState {
    /// The instance's one call begins, of `function`: it has its share of log lines and requests to itself,
    /// whatever was used while the instance was made.
    pub fn begin(&mut self, function: &'static str) {
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

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.http.outgoing,
            table: &mut self.table,
            ctx: &mut self.http.context,
        }
    }
}

/// Who a trial call is about.
pub fn invented_user() -> User {
    let identity = Identity {
        provider: "trial".to_owned(),
        issuer: "https://trial.invalid".to_owned(),
        subject: "trial".to_owned(),
    };
    User {
        id: UserId::from("0".repeat(32)),
        username: None,
        name: "Trial".to_owned(),
        email: None,
        avatar_url: None,
        identities: vec![identity],
        joined: Timestamp(0),
        status: UserStatus::Active,
        attributes: BTreeMap::new(),
    }
}
