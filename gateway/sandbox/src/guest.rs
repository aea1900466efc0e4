//! The data of a wasmtime store: what the host keeps for one instance and its one call.

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

/// Most WASI resources (streams, pollables) that a call may hold at the same time.
pub const MAX_RESOURCES: usize = 256;

/// The data of a store, dropped at the end of the call.
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

/// Services of the gateway that the grants give access to.
#[derive(Clone, Debug)]
pub struct HostServices {
    /// For the grant `users`.
    pub users: Arc<dyn UserLookup>,
    /// For the grant `key-value`.
    pub values: Arc<dyn KeyValueStore>,
    /// For the grant `http`. `None` denies every request.
    pub network: Option<Arc<Network>>,
    /// Records what the guest writes, in addition to the gateway's log.
    pub transcript: Option<Transcript>,
}

impl HostServices {
    /// The services of a trial call: `user` is the only user, stored values are discarded, and there is no network.
    pub fn trial(user: User) -> Self {
        Self {
            users: Arc::new(Invented(user)),
            values: Arc::new(ScratchValues::default()),
            network: None,
            transcript: None,
        }
    }
}

/// The only user of a trial call.
#[derive(Debug)]
struct Invented(User);

#[async_trait::async_trait]
impl UserLookup for Invented {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        Ok((self.0.id == *id).then(|| self.0.clone()))
    }
}

impl GuestState {
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

    /// Starts the instance's call of `function`. Log lines and requests of the instance's start no longer count.
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

/// The user in a trial call.
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
