//! [`section!`]: declares a setting once. It generates the field of the struct, the code that reads it, and the
//! [`Setting`](super::setting::Setting) for `docs/configuration.md`, `gateway config schema` and the check for unknown keys.
//!
//! A setting is declared by its documentation and one line:
//!
//! ```text
//! /// Maximum number of connections.
//! connections: usize as Count = Count(4096), "GATEWAY_CONNECTIONS", { max: Some("1000000") };
//! ```
//!
//! Its key is the name of the field. The gateway works with a `usize`, and [`Count`](super::value::Count) says how it is
//! written; without `as`, both are the same. The default may use `cx`, the [`Context`] that the struct names, and fields
//! declared before it; `=> "words"` after it documents such a default. Without a default, a setting is an `Option`, or has its
//! type's default. Then come its variables, separated by `|`, and everything that differs from
//! [`Setting::PLAIN`](super::setting::Setting::PLAIN).

use std::collections::BTreeSet;
use std::path::Path;

use gateway_sandbox::PluginConfig;
use secrecy::SecretString;

use super::layers::{Layers, Place, Texts};
use super::parse::Written;
use super::setting::{Documented, Form, Setting, Shape};
use super::sources::Origin;
use super::value::Value;

/// The values on which defaults depend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) guest_threads: usize,
    /// The name of the upstream provider.
    pub(super) provider: &'a str,
    /// The defaults of a plugin.
    pub(super) plugin: &'a PluginConfig,
}

impl Context<'_> {
    pub(super) fn with_defaults<R>(function: impl FnOnce(&Context<'_>) -> R) -> R {
        function(&Context {
            data_dir: Path::new("data"),
            guest_threads: 1,
            provider: "",
            plugin: &PluginConfig::default(),
        })
    }
}

/// The kind of a setting: a [`Value`], an optional one, a list, or one that its section checks.
pub(super) trait Field: Sized {
    /// How it is written in the file.
    const SHAPE: Shape;
    /// How one value is written.
    const FORM: Form = Form::Scalar;

    /// How the documentation shows it as a default.
    fn documented(&self) -> Documented {
        Documented::Nothing
    }

    /// Reads it from the strongest source, and adds it to the report.
    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self;
}

impl<T: Value> Field for T {
    const SHAPE: Shape = Shape::Value;
    const FORM: Form = <T as Value>::FORM;

    fn documented(&self) -> Documented {
        Documented::Value(self.show())
    }

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        if let Some((value, _)) = layers.optional(place, setting) {
            return value;
        }
        layers.show(&place.key(setting.key), default.show(), place.default.clone());
        default
    }
}

impl<T: Value> Field for Option<T> {
    const SHAPE: Shape = Shape::Value;
    const FORM: Form = <T as Value>::FORM;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        layers
            .optional(place, setting)
            .map(|(value, _)| value)
            .or(default)
    }
}

impl<T: Value> Field for Option<(T, Origin)> {
    const SHAPE: Shape = Shape::Value;
    const FORM: Form = <T as Value>::FORM;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        layers.optional(place, setting).or(default)
    }
}

/// Values with their places.
pub(super) type List<T> = Vec<(T, Origin)>;

fn show<T: Value>(list: &[(T, Origin)]) -> Vec<String> {
    list.iter().map(|(value, _)| value.show()).collect()
}

impl<T: Value> Field for List<T> {
    const SHAPE: Shape = if T::IS_TEXT { Shape::Texts } else { Shape::List };
    const FORM: Form = <T as Value>::FORM;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        let list = <Option<Self> as Field>::read(layers, place, setting, None);
        list.unwrap_or_else(|| {
            layers.show_list(&place.key(setting.key), &show(&default), place.default.clone());
            default
        })
    }
}

impl<T: Value> Field for Option<List<T>> {
    const SHAPE: Shape = <List<T> as Field>::SHAPE;
    const FORM: Form = <T as Value>::FORM;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        let Some(found) = layers.list(place, setting) else {
            return default;
        };
        let key = place.key(setting.key);
        let list = layers.values::<T>(&key, setting, found.list);
        layers.show_list(&key, &show(&list), found.origin);
        Some(list)
    }
}

impl<T: Value + Ord> Field for BTreeSet<T> {
    const SHAPE: Shape = <List<T> as Field>::SHAPE;
    const FORM: Form = <T as Value>::FORM;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        let key = place.key(setting.key);
        let (set, origin): (Self, _) = match layers.list(place, setting) {
            Some(found) => {
                let values = layers.values(&key, setting, found.list).into_iter();
                (values.map(|(value, _)| value).collect(), found.origin)
            }
            None => (default, place.default.clone()),
        };
        let shown: Vec<String> = set.iter().map(Value::show).collect();
        layers.show_list(&key, &shown, origin);
        set
    }
}

/// A text with its place. Its section checks it and adds it to the report.
pub(super) struct Text(pub(super) String, pub(super) Origin);

impl Field for Option<Text> {
    const SHAPE: Shape = Shape::Value;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        let found = layers.text(place, setting);
        found.map(|(text, origin)| Text(text, origin)).or(default)
    }
}

impl Field for Option<Texts> {
    const SHAPE: Shape = Shape::List;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        layers.list(place, setting).or(default)
    }
}

pub(super) type Secret = (SecretString, Origin);

impl Field for Option<Secret> {
    const SHAPE: Shape = Shape::Secret;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        layers.secret(place, setting).or(default)
    }
}

/// Secrets with their places. They do not appear in the report.
pub(super) type Secrets = Vec<Secret>;

impl Field for Option<Secrets> {
    const SHAPE: Shape = Shape::Secrets;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        layers.secrets(place, setting).or(default)
    }
}

/// Names and values with their places. Their section checks them and adds them to the report. In a variable, they are
/// `name=value` pairs separated by `;`.
#[derive(Default)]
pub(super) struct Pairs(pub(super) Vec<(String, String, Origin)>);

impl Field for Pairs {
    const SHAPE: Shape = Shape::Pairs;

    fn read(layers: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        if !layers.is_set_by_variable(place, setting)
            && let Some(Written::Pairs(pairs)) = place.written(setting.key)
            && !pairs.is_empty()
        {
            return Self(pairs.clone());
        }
        let Some(found) = layers.list(place, setting) else {
            return default;
        };
        let mut pairs = Vec::new();
        for (pair, origin) in found.list {
            match pair.split_once('=') {
                Some((name, value)) => pairs.push((name.trim().to_owned(), value.to_owned(), origin)),
                None => {
                    let right = "must be name=value pairs separated by `;`";
                    layers.mistake(Some(origin), &place.key(setting.key), right);
                }
            }
        }
        Self(pairs)
    }
}

/// The same, with nested tables: the name of a value is its path.
#[derive(Default)]
pub(super) struct Tree(pub(super) Vec<(String, String, Origin)>);

impl Field for Tree {
    const SHAPE: Shape = Shape::Tree;

    fn read(_: &mut Layers<'_>, place: &Place<'_>, setting: &Setting, default: Self) -> Self {
        match place.written(setting.key) {
            Some(Written::Pairs(pairs)) => Self(pairs.clone()),
            _ => default,
        }
    }
}

/// Converts from the kind of a setting to the type that the gateway works with.
pub(super) trait Plain<T> {
    fn plain(self) -> T;
}

impl<T: Value, U: From<T>> Plain<U> for T {
    fn plain(self) -> U {
        self.into()
    }
}

impl<T: Value, U: From<T>> Plain<Option<U>> for Option<T> {
    fn plain(self) -> Option<U> {
        self.map(Into::into)
    }
}

impl<T: Value, U: From<T>> Plain<Vec<U>> for List<T> {
    fn plain(self) -> Vec<U> {
        self.into_iter().map(|(value, _)| value.into()).collect()
    }
}

/// Declares the settings of a table of the file.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $(#[derive($($derive:ident),+)])?
        $vis:vis struct $name:ident($cx:ident) $path:literal $(expects $expects:literal)? {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $(as $kind:ty)? $(= $default:expr)? $(=> $words:literal)?
                    $(, $($variable:literal)|+)? $(, { $($option:ident: $value:expr),+ })?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        $(#[derive($($derive),+)])?
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                $vis $field: $type,
            )+
        }

        #[allow(unused_variables, reason = "not every default depends on the context, or on another setting")]
        impl $name {
            const SETTINGS: [$crate::config::setting::Setting; [$(stringify!($field)),+].len()] = [$(
                $crate::config::setting::Setting {
                    $($($option: $value,)+)?
                    ..$crate::config::setting::Setting {
                        key: stringify!($field),
                        $(variables: &[$($variable),+],)?
                        doc: concat!($($doc),+),
                        default: $crate::config::field::documented!(
                            $cx, $crate::config::field::kind!($type $(, $kind)?), [$($default)?], [$($words)?]
                        ),
                        shape: <$crate::config::field::kind!($type $(, $kind)?) as $crate::config::field::Field>::SHAPE,
                        form: <$crate::config::field::kind!($type $(, $kind)?) as $crate::config::field::Field>::FORM,
                        ..$crate::config::setting::Setting::PLAIN
                    }
                }
            ),+];

            pub(in crate::config) const SECTION: $crate::config::setting::Section = $crate::config::setting::Section {
                #[cfg(test)]
                name: stringify!($name),
                path: $path,
                doc: concat!($($about),+),
                expects: $crate::config::field::expects!($($expects)?),
                settings: &Self::SETTINGS,
            };

            pub(in crate::config) fn read(
                layers: &mut $crate::config::layers::Layers<'_>,
                place: &$crate::config::layers::Place<'_>,
                $cx: &$crate::config::field::Context<'_>,
            ) -> Self {
                let mut settings = Self::SETTINGS.iter();
                $(
                    let setting = settings.next().unwrap_or(&$crate::config::setting::Setting::PLAIN);
                    let $field = <$crate::config::field::kind!($type $(, $kind)?) as $crate::config::field::Field>::read(
                        layers, place, setting, $crate::config::field::default_of!($($default)?),
                    );
                )+
                Self {
                    $($field: $crate::config::field::plain!($field $(, $kind)?)),+
                }
            }
        }
    };
}

/// The kind of a setting: the type after `as`, or the only one.
macro_rules! kind {
    ($type:ty) => {
        $type
    };
    ($type:ty, $kind:ty) => {
        $kind
    };
}

macro_rules! plain {
    ($field:ident) => {
        $field
    };
    ($field:ident, $kind:ty) => {
        $crate::config::field::Plain::plain($field)
    };
}

macro_rules! default_of {
    () => {
        ::std::default::Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! expects {
    () => {
        "a table"
    };
    ($expects:literal) => {
        $expects
    };
}

/// A function that returns the documentation of a default: its words, or the value.
macro_rules! documented {
    ($cx:ident, $kind:ty, [$($default:expr)?], [$words:literal]) => {
        || $crate::config::setting::Documented::Words($words)
    };
    ($cx:ident, $kind:ty, [], []) => {
        || $crate::config::field::Field::documented(&<$kind as ::std::default::Default>::default())
    };
    ($cx:ident, $kind:ty, [$default:expr], []) => {
        || {
            $crate::config::field::Context::with_defaults(|$cx| {
                let default: $kind = $default;
                $crate::config::field::Field::documented(&default)
            })
        }
    };
}

pub(super) use {default_of, documented, expects, kind, plain, section};
