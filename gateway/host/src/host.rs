//! The host put together: threads for guests, the registry, the watch, and what callers do with them.

use std::sync::Arc;
use std::{fmt, path};

use gateway_model::{Event, SystemRandom, User, UserId, UserLimits, Verdict};
use gateway_sandbox::engine::Engines;
use gateway_sandbox::{CallError, HostServices};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::cache::Cache;
use crate::check::usable_dir;
use crate::directory::PluginDirectory;
use crate::dispatcher::Dispatcher;
use crate::error::{HostError, RollbackError};
use crate::registry::Registry;
use crate::watcher::{Watched as _, Watcher};
use crate::{HostOptions, Permissions, PluginSet, PluginStatus, hooks, permissions, status};

/// Most threads that read files and compile.
const MAX_BLOCKING: usize = 8;
mod inner;

use self::inner::Inner;

/// The plugins, loaded and watched. Cheap to clone: all clones are one host, which ends with the last.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

/// The looks at all plugins' files that a configuration asks for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admissions(watch::Receiver<Looks>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    GoOn,
    Done,
    GivenUp,
}

impl Admissions {
    /// Returns when each plugin serves or has a problem, or when the host is shut down. Returns false if it was shut down
    /// first.
    pub async fn done(&self) -> bool {
        let mut looks = self.0.clone();
        let looks = looks.wait_for(|looks| *looks != Looks::GoOn).await;
        // They have been given up, too, where nobody is left to say so.
        looks.is_ok_and(|looks| *looks == Looks::Done)
    }
}

impl PluginHost {
    /// [`PluginHost::open`], and returns when everything that is there and good serves.
    ///
    /// # Errors
    /// As for [`PluginHost::open`].
    pub async fn start(options: HostOptions, set: PluginSet) -> Result<Self, HostError> {
        let (host, admissions) = Self::open(options, set).await?;
        admissions.done().await;
        Ok(host)
    }

    /// Begins to read, admit and compile what is in the directory, and to watch it. Each plugin serves as soon as it is
    /// admitted, and until then its calls fail; while a new file is compiled, the last good generation serves. A plugin
    /// that cannot be loaded is a problem for the log and [`PluginHost::status`], not an error.
    ///
    /// # Errors
    /// When the directories cannot be used, or the engine does not run on this machine.
    pub async fn open(options: HostOptions, set: PluginSet) -> Result<(Self, Admissions), HostError> {
        let HostOptions {
            plugin_dir,
            cache_dir,
            guest_threads,
            users,
            values,
            network,
            compile,
        } = options;
        usable_dir(&plugin_dir)?;
        // Not canonical: where a link leads on the way may change.
        let plugin_dir = path::absolute(&plugin_dir).map_err(|error| HostError::PluginDirUnreadable {
            path: plugin_dir,
            error,
        })?;
        let engines = Arc::new(Engines::start()?);
        let cache = Cache::open(&cache_dir, engines.usual(), &SystemRandom)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(guest_threads.max(1))
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        let dispatcher = Arc::new(Dispatcher::new(runtime.handle().clone()));
        let directory = Arc::new(PluginDirectory::new(plugin_dir));
        let inner = Arc::new(Inner {
            registry: Arc::new(Registry::new(
                Arc::clone(dispatcher.queues()),
                Arc::clone(dispatcher.memory()),
            )),
            admission: Admission::new(
                engines,
                cache,
                Arc::clone(&directory),
                Arc::clone(&dispatcher),
                compile,
            ),
            directory: Arc::clone(&directory),
            dispatcher,
            services: HostServices {
                users,
                values,
                network: Some(network),
                transcript: None,
            },
            settling: tokio::sync::Mutex::default(),
            ended: CancellationToken::new(),
            runtime: Mutex::new(Some(runtime)),
        });
        let names = inner.adopt(set, true).await;
        // Before the files are read, so that no change is missed in between; and after it is known where they were.
        let watcher = Watcher::new(directory);
        let admissions = inner.look_at(names);
        inner
            .dispatcher
            .guests()
            .spawn(watcher.run(Arc::downgrade(&inner)));
        Ok((Self(inner), admissions))
    }

    /// Takes a new configuration (SIGHUP). Returns when it is in force: services and extensions in one switch, and what
    /// serves already of their plugins does so under their new settings, secrets and grants; what may not is withdrawn.
    /// Then every file is looked at again; so are limits, under which a plugin must pass its trial before they count.
    pub async fn adopt(&self, set: PluginSet) -> Admissions {
        let inner = Arc::clone(&self.0);
        // Goes on even when the caller gives up waiting: half of it must not be in force.
        let task = self.0.dispatcher.guests().spawn(async move {
            let names = inner.adopt(set, false).await;
            inner.look_at(names)
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the plugins' configuration could not be put in force");
            Admissions(watch::Sender::new(Looks::GivenUp).subscribe())
        })
    }

    /// [`PluginHost::adopt`], and returns when every file has been looked at.
    pub async fn reconfigure(&self, set: PluginSet) {
        self.adopt(set).await.done().await;
    }

    /// Lets the generation before the one that serves serve again, at once, if it is good under the
    /// configuration as it is now. It holds, restarts and new configurations included, until the plugin's
    /// file has another digest than it has now. Doing so again goes back one further. Gives how the plugin
    /// stands then.
    ///
    /// # Errors
    /// Why not. What served serves on.
    pub async fn rollback(&self, plugin: &str) -> Result<PluginStatus, RollbackError> {
        let (inner, name) = (Arc::clone(&self.0), plugin.to_owned());
        // Goes on even when the caller gives up waiting: what is on record must be in force.
        let task = self
            .0
            .dispatcher
            .guests()
            .spawn(async move { inner.roll_back(&name).await });
        task.await.unwrap_or_else(|error| {
            Err(RollbackError::Failed {
                plugin: plugin.to_owned(),
                reason: error.to_string(),
            })
        })?;
        self.plugin_status(plugin)
            .ok_or_else(|| RollbackError::NotConfigured {
                plugin: plugin.to_owned(),
            })
    }

    /// Looks at a plugin's file again, as when it changes, and gives how the plugin stands once that is in
    /// force; `None` where it is not configured. A plugin that was rolled back stays so while its file is
    /// the same.
    pub async fn reload(&self, plugin: &str) -> Option<PluginStatus> {
        let inner = Arc::clone(&self.0);
        let name: Arc<str> = plugin.into();
        let task = self.0.dispatcher.guests().spawn(async move {
            inner.withdraw_missing(std::slice::from_ref(&name)).await;
            inner.reload(&name).await;
        });
        if let Err(error) = task.await {
            tracing::error!(plugin, %error, "the plugin's file could not be looked at");
        }
        self.plugin_status(plugin)
    }

    /// How one plugin stands; `None` where it is not configured.
    #[must_use]
    pub fn plugin_status(&self, plugin: &str) -> Option<PluginStatus> {
        let snapshot = self.0.registry.snapshot();
        snapshot
            .plugins
            .get(plugin)
            .map(|plugin| status::of_one(&snapshot, plugin))
    }

    /// Whether a service is configured.
    #[must_use]
    pub fn has_service(&self, service: &str) -> bool {
        self.0.registry.snapshot().set.services.contains_key(service)
    }

    /// Whether an extension is configured: one that has hooks, which read the claims of those who sign in.
    #[must_use]
    pub fn has_extensions(&self) -> bool {
        !self.0.registry.snapshot().set.extensions.is_empty()
    }

    /// The configured services, sorted.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.0.registry.snapshot().set.services.keys().cloned().collect()
    }

    /// Asks the service's provider what the user may do, on a guest thread. Dropping the future cancels
    /// the call.
    ///
    /// # Errors
    /// Every way to get no answer. Nothing may be signed then.
    pub async fn get_permissions(&self, service: &str, user: &UserId) -> Result<Permissions, CallError> {
        self.get_permissions_then(service, user, std::convert::identity)
            .await
    }

    /// The same, and makes something of the answer: signs it, say. That is done on the guest thread as well,
    /// since it computes, and since a hand-over between threads costs about as much as a call. Where the provider was
    /// replaced while it was asked, nothing is made of its answer, and the one in its place is asked.
    ///
    /// # Errors
    /// As for [`PluginHost::get_permissions`]; `then` has not been called.
    pub async fn get_permissions_then<T: Send + 'static>(
        &self,
        service: &str,
        user: &UserId,
        then: impl FnOnce(Permissions) -> T + Clone + Send + 'static,
    ) -> Result<T, CallError> {
        let Inner {
            dispatcher,
            registry,
            services,
            ..
        } = &*self.0;
        permissions::get_permissions(dispatcher, registry, services, service, user, then).await
    }

    /// [`Self::run_hooks_within`] the bounds that hold for a user unless an operator sets others.
    pub async fn run_hooks(&self, event: &Event, user: &User) -> Verdict {
        self.run_hooks_within(event, user, &UserLimits::default()).await
    }

    /// Runs the event's hook of every extension, in order, until one does not accept; for a sign-out, of
    /// all of them. `user` is who the event is about, as they are now, and `limits` what they may take up: a hook whose
    /// attributes would exceed them has failed. In the verdict a hook is called
    /// `<plugin>/<function>`, for example `email-domains/on-new-user`.
    pub async fn run_hooks_within(&self, event: &Event, user: &User, limits: &UserLimits) -> Verdict {
        let snapshot = self.0.registry.snapshot();
        hooks::run_hooks(
            &self.0.dispatcher,
            &snapshot,
            &self.0.services,
            event,
            user,
            limits,
        )
        .await
    }

    /// How every configured plugin stands, sorted by name.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        status::of(&self.0.registry.snapshot())
    }

    /// A number that grows whenever a plugin or the configuration was looked at and put in force, to wait
    /// on instead of asking [`PluginHost::status`] again and again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.registry.changes()
    }

    /// Takes no new calls, waits for those in flight (each ends by its deadline), and ends the watch. Files that are
    /// being compiled or tried are given up.
    pub async fn shutdown(&self) {
        self.0.ended.cancel();
        self.0.dispatcher.drain().await;
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost")
            .field("plugins", &self.status())
            .finish()
    }
}

#[cfg(test)]
mod tests;
