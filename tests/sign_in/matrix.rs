//! Every kind of state with every kind of cookie. Only one pair is valid.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use url::Url;

use super::state::aged;
use super::{APP, alice, assert_refused, login};
use support::browser::{Browser, location, parameter, token_in};
use support::fake_github::FakeGitHub;
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

const STATES: [&str; 8] = [
    "right",
    "absent",
    "empty",
    "wrong",
    "replayed",
    "expired",
    "another provider's",
    "another browser's",
];
const COOKIES: [&str; 4] = ["present", "absent", "another's", "made up"];
/// One sends its issuer in the callback, the other does not.
const PROVIDERS: [&str; 2] = ["google", "github"];

struct World {
    gateway: Gateway,
    google: FakeOidc,
    github: FakeGitHub,
}

impl World {
    /// Begins a sign-in. Returns the callback to which the provider would send the browser.
    async fn begin(&self, browser: &Browser, provider: &str) -> Url {
        if provider == "google" {
            self.google.go(browser, &login(provider, APP)).await
        } else {
            self.github
                .consent(&location(&browser.get(&login(provider, APP)).await))
        }
    }

    /// The number of codes that providers received.
    fn codes_sent(&self) -> usize {
        usize::try_from(self.google.token_calls()).unwrap() + self.github.token_requests()
    }

    /// Sends one callback. Returns whether it succeeded, which uses up a code.
    async fn succeeds(&self, provider: &str, state: &str, cookie: &str) -> bool {
        let what = format!("{provider}: state {state}, cookie {cookie}");
        let browser = self.gateway.browser();
        let mut callback = self.begin(&browser, provider).await;
        let own = parameter(&callback, "state").unwrap();
        let mut jar = browser.cookies();
        let sent = match state {
            "absent" => None,
            "empty" => Some(String::new()),
            "wrong" => Some("A".repeat(own.len())),
            "replayed" => {
                token_in(&browser.get(callback.as_str()).await);
                Some(own.clone())
            }
            "expired" => {
                jar = aged(&jar, 601);
                Some(own.clone())
            }
            "another provider's" => {
                let other = PROVIDERS.into_iter().find(|other| *other != provider).unwrap();
                let elsewhere = self.begin(&browser, other).await;
                jar = browser.cookies();
                parameter(&elsewhere, "state")
            }
            "another browser's" => parameter(&self.begin(&self.gateway.browser(), provider).await, "state"),
            _ => Some(own.clone()),
        };
        let name = gateway::cookie::name(sent.as_ref().unwrap_or(&own), true);
        let jar = match cookie {
            "absent" => BTreeMap::new(),
            "another's" => {
                let stranger = self.gateway.browser();
                self.begin(&stranger, provider).await;
                BTreeMap::from([(name, stranger.cookies().into_values().next().unwrap())])
            }
            "made up" => BTreeMap::from([(name, "A".repeat(400))]),
            _ => jar,
        };

        let others: Vec<(String, String)> = callback
            .query_pairs()
            .filter(|(name, _)| name != "state")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        callback.query_pairs_mut().clear().extend_pairs(others);
        if let Some(sent) = sent {
            callback.query_pairs_mut().append_pair("state", &sent);
        }
        browser.set_cookies(jar);
        let before = self.codes_sent();
        let response = browser.get(callback.as_str()).await;
        let succeeds = response.status() == StatusCode::FOUND;
        if succeeds {
            token_in(&response);
        } else {
            assert_refused(&what, response).await;
        }
        assert_eq!(self.codes_sent() - before, usize::from(succeeds), "{what}");
        succeeds
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_matching_pair_of_state_and_cookie_is_accepted() {
    let (google, github) = (FakeOidc::start(alice()).await, FakeGitHub::start().await);
    let gateway = Setup::serve()
        .oidc("google", &google)
        .table("providers.github", &github.table())
        .origin(APP)
        .table("rate_limits", "sign_in = \"off\"")
        .start()
        .await;
    let world = World {
        gateway,
        google,
        github,
    };
    let (mut tried, mut good) = (0, Vec::new());
    for provider in PROVIDERS {
        for state in STATES {
            for cookie in COOKIES {
                tried += 1;
                if world.succeeds(provider, state, cookie).await {
                    good.push((provider, state, cookie));
                }
            }
        }
    }
    println!(
        "{tried} pairs of state and cookie, {} successes: {good:?}",
        good.len()
    );
    assert_eq!(good, PROVIDERS.map(|provider| (provider, "right", "present")));
    world.gateway.stop().await;
}
