//! [`PluginHost`]: threads for guests, the registry, the watcher, and the calls.

use std::sync::Arc;
use std::{fmt, path};

use gateway_model::{Event, SystemRandom, User, UserId, UserLimits, Verdict};
use gateway_sandbox::engine::Engines;
use gateway_sandbox::{CallError, HostServices};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::cache::Cache;
use crate::check::usable_dir;
use crate::directory::PluginDirectory;
use crate::dispatcher::Dispatcher;
use crate::error::{HostError, RollbackError};
use crate::registry::Registry;
use crate::threads::GuestThreads;
use crate::watcher::Watcher;
use crate::{HostOptions, Permissions, PluginSet, PluginStatus, hooks, permissions, status};

/// Most threads that read files and compile.
const MAX_BLOCKING: usize = 8;
pub(crate) mod inner;

use self::inner::Inner;

/// The plugins, loaded and watched. Cheap to clone: all clones are one host, which ends with the last clone.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

/// The examinations of all plugins' files after a configuration change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admissions(watch::Receiver<Looks>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    GoOn,
    Done,
    GivenUp,
}

impl Admissions {
    /// Waits until each plugin serves or has a problem. Returns false if the host was shut down first.
    pub async fn done(&self) -> bool {
        let mut looks = self.0.clone();
        let looks = looks.wait_for(|looks| *looks != Looks::GoOn).await;
        // A sender that is gone has given up, too.
        looks.is_ok_and(|looks| *looks == Looks::Done)
    }
}

impl PluginHost {
    /// Calls [`PluginHost::open`], and waits until every good plugin serves.
    ///
    /// # Errors
    /// As for [`PluginHost::open`].
    pub async fn start(options: HostOptions, set: PluginSet) -> Result<Self, HostError> {
        let (host, admissions) = Self::open(options, set).await?;
        admissions.done().await;
        Ok(host)
    }

    /// Starts to admit the plugins in the directory, and to watch it. Each plugin serves as soon as it is admitted, and
    /// until then its calls fail; while a new file is compiled, the last good generation serves. A plugin that cannot
    /// be loaded is reported in the log and by [`PluginHost::status`]; it is not an error.
    ///
    /// # Errors
    /// If the directories cannot be used, or the engine does not run on this machine.
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
        // Not canonical: links in the path may be switched.
        let plugin_dir = path::absolute(&plugin_dir).map_err(|error| HostError::PluginDirUnreadable {
            path: plugin_dir,
            error,
        })?;
        let engines = Arc::new(Engines::start()?);
        let cache = Cache::open(&cache_dir, engines.usual(), &SystemRandom)?;
        let threads = GuestThreads::start(guest_threads, MAX_BLOCKING)?;
        let dispatcher = Arc::new(Dispatcher::new(threads.handle().clone()));
        let directory = Arc::new(PluginDirectory::new(plugin_dir));
        let inner = Arc::new(Inner {
            _threads: threads,
            registry: Arc::new(Registry::new(
                Arc::clone(&dispatcher.queues),
                Arc::clone(&dispatcher.memory),
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
        });
        let names = inner.adopt(set, true).await;
        // Before the files are read, so that no change is missed; after it is known where they were.
        let watcher = Watcher::new(directory);
        let admissions = inner.look_at(names);
        inner.dispatcher.guests.spawn(watcher.run(Arc::downgrade(&inner)));
        Ok((Self(inner), admissions))
    }

    /// Puts a new configuration in force (SIGHUP), and returns when it is: services and extensions switch at the same
    /// time, and the serving plugins get their new settings, secrets and grants, or are withdrawn. Then every file is
    /// examined again. New limits apply once the plugin has passed its trial under them.
    pub async fn adopt(&self, set: PluginSet) -> Admissions {
        let inner = Arc::clone(&self.0);
        // Continues if the caller gives up waiting: half a configuration must not be in force.
        let task = self.0.dispatcher.guests.spawn(async move {
            let names = inner.adopt(set, false).await;
            inner.look_at(names)
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the plugins' configuration could not be put in force");
            Admissions(watch::Sender::new(Looks::GivenUp).subscribe())
        })
    }

    /// Calls [`PluginHost::adopt`], and waits until every file has been examined.
    pub async fn reconfigure(&self, set: PluginSet) {
        self.adopt(set).await.done().await;
    }

    /// Switches a plugin back to the previous generation, if that is good under the current configuration. The rollback
    /// holds, across restarts and new configurations, until the digest of the plugin's file changes. A second rollback
    /// goes back one generation further. Returns the plugin's status after it.
    ///
    /// # Errors
    /// If the plugin was not rolled back. The serving generation keeps serving.
    pub async fn rollback(&self, plugin: &str) -> Result<PluginStatus, RollbackError> {
        let (inner, name) = (Arc::clone(&self.0), plugin.to_owned());
        // Continues if the caller gives up waiting: a recorded rollback must be in force.
        let task = self
            .0
            .dispatcher
            .guests
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

    /// Examines a plugin's file again, as when it changes, and returns the plugin's status once the result is in force;
    /// `None` if it is not configured. A plugin that was rolled back stays so while its file is the same.
    pub async fn reload(&self, plugin: &str) -> Option<PluginStatus> {
        let inner = Arc::clone(&self.0);
        let name: Arc<str> = plugin.into();
        let task = self.0.dispatcher.guests.spawn(async move {
            inner.withdraw_missing(std::slice::from_ref(&name)).await;
            inner.reload(&name).await;
        });
        if let Err(error) = task.await {
            tracing::error!(plugin, %error, "the plugin's file could not be examined");
        }
        self.plugin_status(plugin)
    }

    /// The status of one plugin; `None` if it is not configured.
    #[must_use]
    pub fn plugin_status(&self, plugin: &str) -> Option<PluginStatus> {
        let snapshot = self.0.registry.snapshot();
        snapshot
            .plugins
            .get(plugin)
            .map(|plugin| status::of_one(&snapshot, plugin))
    }

    /// Whether an extension is configured. Its hooks read the claims of users who sign in.
    #[must_use]
    pub fn has_extensions(&self) -> bool {
        !self.0.registry.snapshot().set.extensions.is_empty()
    }

    /// The configured services, sorted.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.0.registry.snapshot().set.services.keys().cloned().collect()
    }

    /// Calls the service's permission provider on a guest thread. Dropping the future cancels the call.
    ///
    /// # Errors
    /// If there is no valid answer. Then nothing may be signed.
    pub async fn get_permissions(&self, service: &str, user: &UserId) -> Result<Permissions, CallError> {
        self.get_permissions_then(service, user, std::convert::identity)
            .await
    }

    /// The same, and calls `then` with the answer, for example to sign it. `then` runs on the guest thread as well: it
    /// computes, and a hand-over between threads costs about as much as a call. If the provider was replaced during the
    /// call, its answer is discarded, and the new one is called.
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

    /// Calls [`Self::run_hooks_within`] with the default limits of a user.
    pub async fn run_hooks(&self, event: &Event, user: &User) -> Verdict {
        self.run_hooks_within(event, user, &UserLimits::default()).await
    }

    /// Runs the event's hook of every extension, in order, until one does not accept; for a sign-out, of all of them.
    /// `user` is the event's user as they are now. A hook whose attributes would exceed the user's `limits` has failed.
    /// The verdict names a hook `<plugin>/<function>`, for example `email-domains/on-new-user`.
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

    /// The status of every configured plugin, sorted by name.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        status::of(&self.0.registry.snapshot())
    }

    /// A number that grows with each change of a plugin or the configuration, to wait on instead of polling
    /// [`PluginHost::status`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.registry.changes()
    }

    /// Rejects new calls, waits for those in flight (each ends by its deadline), and stops watching. Compilations and
    /// trials are cancelled.
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
