//! Name look-ups: each plugin has a share, and concurrent requests for one name share a look-up.
//!
//! The system's resolver cannot be cancelled. If a name's server does not answer, the look-up outlives the call that
//! needed it. The gateway therefore limits the number of look-ups, not of callers that wait. It does not look up a name
//! again while a look-up is under way, except once more if that takes long, because the query or the answer may be
//! lost.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Resolver;
use super::error::RequestError;
use super::shares::Shares;

/// Look-ups of all plugins at the same time, beyond the one that each may always have.
const MOST: usize = 64;
/// Most look-ups of one plugin.
const MOST_OF_ONE: usize = 8;
/// Most look-ups of one name, so that a dead name does not block the plugin's others.
const MOST_OF_NAME: usize = 2;
/// The age at which a look-up no longer takes further callers.
const YOUNG: Duration = Duration::from_secs(1);

type Answer = Shared<BoxFuture<'static, Result<Arc<[IpAddr]>, Arc<str>>>>;
type Pending = Mutex<HashMap<Arc<str>, Vec<LookUp>>>;

/// The look-ups under way.
pub(super) struct LookUps {
    pub(super) resolver: Arc<dyn Resolver>,
    shares: Arc<Shares>,
    pending: Arc<Pending>,
}

struct LookUp {
    began: Instant,
    answer: Answer,
}

impl LookUps {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self {
            resolver,
            shares: Shares::new(MOST, 1, MOST_OF_ONE),
            pending: Arc::default(),
        }
    }

    /// Resolves a name for a request of the plugin.
    pub(super) async fn resolve(&self, plugin: &Arc<str>, name: &str) -> Result<Arc<[IpAddr]>, RequestError> {
        let answer = self.look_up(plugin, name).ok_or(RequestError::TooManyLookUps)?;
        answer
            .await
            .map_err(|error| RequestError::Unresolved(error.to_string()))
    }

    fn look_up(&self, plugin: &Arc<str>, name: &str) -> Option<Answer> {
        let mut pending = self.pending.lock();
        let now = Instant::now();
        let of_name = pending.get(name).map(Vec::as_slice).unwrap_or_default();
        let youngest = of_name.last();
        if let Some(look_up) = youngest
            && (of_name.len() >= MOST_OF_NAME || now.duration_since(look_up.began) < YOUNG)
        {
            return Some(look_up.answer.clone());
        }
        let Some(held) = self.shares.take(plugin) else {
            return youngest.map(|look_up| look_up.answer.clone());
        };
        let name: Arc<str> = name.into();
        let ended = Ended {
            pending: Arc::clone(&self.pending),
            name: Arc::clone(&name),
            began: now,
        };
        let (resolver, asked) = (Arc::clone(&self.resolver), Arc::clone(&name));
        // A separate task, because the look-up continues and counts even if no caller waits any more.
        let task = tokio::spawn(async move {
            let _counted = (held, ended);
            resolver.resolve(&asked).await
        });
        let answer = task.map(|answer| {
            let addresses = answer.unwrap_or_else(|error| Err(io::Error::other(error)));
            addresses
                .map(Arc::from)
                .map_err(|error| Arc::from(error.to_string()))
        });
        let answer = answer.boxed().shared();
        let look_up = LookUp {
            began: now,
            answer: answer.clone(),
        };
        pending.entry(name).or_default().push(look_up);
        Some(answer)
    }
}

/// Removes a look-up from the list when it ends.
struct Ended {
    pending: Arc<Pending>,
    name: Arc<str>,
    began: Instant,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let mut pending = self.pending.lock();
        if let Some(look_ups) = pending.get_mut(&self.name) {
            look_ups.retain(|look_up| look_up.began != self.began);
            if look_ups.is_empty() {
                pending.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::{LookUps, MOST_OF_ONE, Resolver};

    /// Names that begin with `dead` are never answered.
    #[derive(Debug, Default)]
    struct Names(AtomicUsize);

    #[async_trait::async_trait]
    impl Resolver for Names {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("dead") {
                std::future::pending().await
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        }
    }

    fn look_ups() -> (Arc<Names>, LookUps) {
        let names = Arc::new(Names::default());
        (Arc::clone(&names), LookUps::new(names))
    }

    #[tokio::test]
    async fn a3_forty_callers_of_a_dead_name_are_one_look_up() {
        let (names, look_ups) = look_ups();
        let (plugin, other) = ("plugin".into(), "other".into());
        let asked: Vec<_> = (0..40)
            .map(|_| look_ups.look_up(&plugin, "dead.test").unwrap())
            .collect();
        for _ in 0..40 {
            assert!(look_ups.resolve(&other, "good.test").await.is_ok());
            assert!(look_ups.resolve(&plugin, "good.test").await.is_ok());
        }
        assert_eq!(names.0.load(Ordering::SeqCst), 1 + 80);
        assert!(asked.into_iter().all(|answer| answer.now_or_never().is_none()));
        assert_eq!(look_ups.pending.lock().len(), 1, "those that ended are forgotten");
    }

    #[tokio::test]
    async fn a3_a_plugin_of_many_dead_names_has_its_share_and_no_more() {
        let (names, look_ups) = look_ups();
        let plugin = "plugin".into();
        let answers: Vec<_> = (0..40)
            .map(|number| look_ups.look_up(&plugin, &format!("dead{number}.test")))
            .collect();
        assert_eq!(answers.iter().flatten().count(), MOST_OF_ONE);
        for number in 0..100 {
            let other = format!("other-{number}").into();
            assert!(look_ups.resolve(&other, "good.test").await.is_ok());
        }
        assert_eq!(names.0.load(Ordering::SeqCst), MOST_OF_ONE + 100);
    }

    #[tokio::test]
    async fn a_name_that_takes_long_is_asked_for_once_more() {
        let (names, look_ups) = look_ups();
        let plugin = "plugin".into();
        for _ in 0..5 {
            let _ = look_ups.look_up(&plugin, "dead.test");
            for look_up in look_ups.pending.lock().values_mut().flatten() {
                look_up.began = look_up.began.checked_sub(Duration::from_secs(2)).unwrap();
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(names.0.load(Ordering::SeqCst), 2);
    }
}
