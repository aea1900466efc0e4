//! What an endpoint is: its path, its methods, who it answers, and what is demanded before it does.

use std::pin::Pin;
use std::sync::Arc;

use crate::app::App;
use crate::request::Request;
use crate::response::Response;

/// An answer that is being made. Boxed: a future is as large as its largest branch, and is moved about.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// The last segment of a path that stands for a provider's name.
const PROVIDER: &str = "{provider}";

/// What an endpoint is called with.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// What all requests share.
    pub(crate) app: &'a Arc<App>,
    /// The request.
    pub(crate) request: &'a Request,
    /// What the path has in the place of `{provider}`; empty if the route has none.
    pub(crate) provider: &'a str,
}

/// Which methods a route accepts, beside OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
    /// GET and HEAD, and POST for providers that answer by a form.
    ProvidersAnswer,
}

/// Who reads the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A program.
    Program,
    /// A program, or a `<script>` by way of JSONP if that is switched on.
    Jsonp,
    /// A person.
    Person,
}

/// What is demanded before a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Open,
    /// That a person navigates there: a sign-in begins or ends.
    SignIn,
    /// That it does not come from a foreign page, and not too often.
    Update,
}

/// One endpoint: a row of [`ROUTES`](crate::handlers::ROUTES).
pub(crate) struct Route {
    /// Its path, and its name in the log and in metrics. May end in `{provider}`.
    pub(crate) path: &'static str,
    pub(crate) methods: Methods,
    pub(crate) audience: Audience,
    pub(crate) gate: Gate,
    /// Whether the path leads anywhere in this configuration, for this provider's name.
    pub(crate) exists: fn(&App, &str) -> bool,
    pub(crate) handler: for<'a> fn(Call<'a>) -> Answer<'a>,
}

impl Route {
    /// An endpoint for programs that is read.
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

    /// An endpoint for programs that is written to.
    pub(crate) const fn post(path: &'static str, handler: for<'a> fn(Call<'a>) -> Answer<'a>) -> Self {
        let mut route = Self::get(path, handler);
        route.methods = Methods::Post;
        route
    }

    /// The same for somebody else.
    pub(crate) const fn to(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// The same behind a gate.
    pub(crate) const fn behind(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// The same with the methods by which providers answer.
    pub(crate) const fn with(mut self, methods: Methods) -> Self {
        self.methods = methods;
        self
    }

    /// The same, if the configuration has it.
    pub(crate) const fn only_if(mut self, exists: fn(&App, &str) -> bool) -> Self {
        self.exists = exists;
        self
    }

    /// What a path has in the place of `{provider}`, if the path is this route's.
    pub(crate) fn provider_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.strip_suffix(PROVIDER) {
            None => (path == self.path).then_some(""),
            Some(before) => path.strip_prefix(before).filter(|name| !name.contains('/')),
        }
    }

    /// The methods, as `Allow` has them.
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
