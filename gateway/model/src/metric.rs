//! Metrics. Each is declared once, in the file that counts it, and is then in [`METRICS`].

#[doc(hidden)]
pub use {::linkme, ::metrics};

/// All metrics of the crates that are linked into the program, in no particular order.
#[linkme::distributed_slice]
pub static METRICS: [Metric];

/// A metric, as `/metrics` and `docs/operations.md` show it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// A short description, in Markdown.
    pub help: &'static str,
    /// The name of each label, and a description of its values, in Markdown, or "".
    pub labels: &'static [(&'static str, &'static str)],
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts values in buckets. The unit at the end of the name, such as `_seconds`, selects the buckets.
    Histogram,
}

/// Declares metrics, and for each a function that takes the values of its labels and returns the handle to count with.
///
/// ```
/// gateway_model::declare_metrics! {
///     /// Requests that exceeded a rate limit
///     Counter rate_limited = "gateway_rate_limited_total" {
///         /// `sign_in` or `update`
///         limit,
///     }
/// }
/// rate_limited("update").increment(1);
/// let [metric] = &*gateway_model::metric::METRICS else { panic!() };
/// assert_eq!(metric.help, "Requests that exceeded a rate limit");
/// assert_eq!(metric.labels, [("limit", "`sign_in` or `update`")]);
/// ```
#[macro_export]
macro_rules! declare_metrics {
    ($(
        $(#[doc = $help:literal])+
        $kind:ident $function:ident = $name:literal { $($(#[doc = $values:literal])* $label:ident),* $(,)? }
    )*) => {$(
        const _: () = {
            use $crate::metric::linkme;

            #[linkme::distributed_slice($crate::metric::METRICS)]
            #[linkme(crate = linkme)]
            static METRIC: $crate::metric::Metric = $crate::metric::Metric {
                name: $name,
                kind: $crate::metric::Kind::$kind,
                help: concat!($($help),+).trim_ascii(),
                labels: &[$((stringify!($label), concat!($($values),*).trim_ascii())),*],
            };
        };

        $(#[doc = $help])+
        pub(crate) fn $function($($label: impl Into<$crate::metric::metrics::SharedString>),*) -> $crate::metric::metrics::$kind {
            $crate::declare_metrics!(@handle $kind $name $(, stringify!($label) => $label)*)
        }
    )*};
    (@handle Counter $($metric:tt)*) => { $crate::metric::metrics::counter!($($metric)*) };
    (@handle Gauge $($metric:tt)*) => { $crate::metric::metrics::gauge!($($metric)*) };
    (@handle Histogram $($metric:tt)*) => { $crate::metric::metrics::histogram!($($metric)*) };
}
