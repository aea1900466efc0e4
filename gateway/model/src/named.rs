//! Enums whose variants have names.

/// Declares an enum whose variants have names, with `ALL` and `name`.
///
/// ```
/// gateway_model::named_enum! {
///     #[derive(Clone, Copy, Debug, PartialEq)]
///     enum Made {
///         Fresh = "fresh",
///         Ahead = "ahead",
///     }
/// }
/// assert_eq!(Made::ALL.map(Made::name), ["fresh", "ahead"]);
/// ```
#[macro_export]
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        $vis enum $enum { $($(#[$doc])* $variant),+ }

        #[allow(dead_code, reason = "not every enum needs all of it")]
        impl $enum {
            /// All variants, in order.
            $vis const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The variant's name.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}
