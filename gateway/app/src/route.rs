//! The description of an endpoint: its path, its methods, who reads the responses, and the checks before the request is
//! parsed.

use std::pin::Pin;
use std::sync::Arc;

use crate::app::App;
use crate::request::Request;
use crate::response::Response;

/// A pending response. Boxed, because a future is as large as its largest branch, and is moved.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// The last segment of a path, in place of a provider's name.
const PROVIDER: &str = "{provider}";

#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) request: &'a Request,
    /// The path's segment for `{provider}`; empty if the route has none.
    pub(crate) provider: &'a str,
}

/// The methods that a route accepts, besides OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    /// GET and HEAD.
    Get,
    Post,
    /// GET and HEAD, and POST for providers that answer by a form.
    ProvidersAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Program,
    /// A program or, if JSONP is enabled, a `<script>`.
    Jsonp,
    /// A user, on a page.
    Person,
}

/// A check before the request is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Only a user's navigation: a sign-in begins or ends.
    SignIn,
    /// Not from a foreign page, and within the rate limit.
    Update,
}

/// An endpoint: one row of [`ROUTES`](crate::handlers::ROUTES).
pub(crate) struct Route {
    /// The path, and its name in the log and in metrics. May end in `{provider}`.
    pub(crate) path: &'static str,
    pub(crate) methods: Methods,
    pub(crate) audience: Audience,
    pub(crate) gate: Gate,
    /// Whether the path exists in this configuration, for this provider's name.
    pub(crate) exists: fn(&App, &str) -> bool,
    pub(crate) handler: for<'a> fn(Call<'a>) -> Answer<'a>,
}

impl Route {
    /// An endpoint for programs that accepts GET.
    pub(crate) const fn get(path: &'static str, handler: for<'a> fn(Call<'a>) -> Answer<'a>) -> Self {
        Self {
            path,
            methods: Methods::Get,
            audience: Audience::Program,
            gate: Gate::Open,
            exists: |_, _| true,
            handler,
        }
    }

    /// An endpoint for programs that accepts POST.
    pub(crate) const fn post(path: &'static str, handler: for<'a> fn(Call<'a>) -> Answer<'a>) -> Self {
        let mut route = Self::get(path, handler);
        route.methods = Methods::Post;
        route
    }

    /// Changes who reads the responses.
    pub(crate) const fn to(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    pub(crate) const fn behind(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    pub(crate) const fn with(mut self, methods: Methods) -> Self {
        self.methods = methods;
        self
    }

    /// Makes the path depend on the configuration.
    pub(crate) const fn only_if(mut self, exists: fn(&App, &str) -> bool) -> Self {
        self.exists = exists;
        self
    }

    /// Returns the path's segment for `{provider}` if the path is this route's.
    pub(crate) fn provider_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.strip_suffix(PROVIDER) {
            None => (path == self.path).then_some(""),
            Some(before) => path.strip_prefix(before).filter(|name| !name.contains('/')),
        }
    }

    pub(crate) fn allow(&self, app: &App, provider: &str) -> &'static str {
        let posts = || {
            app.provider(provider)
                .is_some_and(gateway_upstream::Provider::posts_its_answer)
        };
        match self.methods {
            Methods::Post => "POST, OPTIONS",
            Methods::ProvidersAnswer if posts() => "GET, HEAD, POST, OPTIONS",
            Methods::Get | Methods::ProvidersAnswer => "GET, HEAD, OPTIONS",
        }
    }
}
