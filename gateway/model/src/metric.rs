//! Declarations of metrics.

/// A metric, for `/metrics` and the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it measures, in a few words of Markdown.
    pub help: &'static str,
    /// The name of each label, and its values in Markdown, unless they are obvious from the name.
    pub labels: &'static [(&'static str, &'static str)],
}

/// The Prometheus types that the gateway uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts of values in buckets. The end of the name, such as `_seconds`, selects the buckets.
    Histogram,
}

/// Declares the metrics of a crate: for each, a function that takes a value for each label and returns the handle to count
/// with; and `METRICS`, a list of all of them.
///
/// The crate must depend on `metrics`.
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
/// assert_eq!(METRICS[0].help, "Requests that exceeded a rate limit");
/// assert_eq!(METRICS[0].labels, [("limit", "`sign_in` or `update`")]);
/// ```
#[macro_export]
macro_rules! declare_metrics {
    ($(
        $(#[doc = $help:literal])+
        $kind:ident $function:ident = $name:literal { $($(#[doc = $values:literal])* $label:ident),* $(,)? }
    )*) => {
        /// The metrics of this crate.
        pub const METRICS: &[$crate::metric::Metric] = &[$(
            $crate::metric::Metric {
                name: $name,
                kind: $crate::metric::Kind::$kind,
                help: concat!($($help),+).trim_ascii(),
                labels: &[$((stringify!($label), concat!($($values),*).trim_ascii())),*],
            }
        ),*];
        $(
            $(#[doc = $help])+
            pub(crate) fn $function($($label: impl Into<::metrics::SharedString>),*) -> ::metrics::$kind {
                $crate::declare_metrics!(@handle $kind $name $(, stringify!($label) => $label)*)
            }
        )*
    };
    (@handle Counter $($metric:tt)*) => { ::metrics::counter!($($metric)*) };
    (@handle Gauge $($metric:tt)*) => { ::metrics::gauge!($($metric)*) };
    (@handle Histogram $($metric:tt)*) => { ::metrics::histogram!($($metric)*) };
}
