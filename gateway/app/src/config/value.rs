//! Kinds of values, and how they are written in the file and in variables: durations, sizes, addresses and others.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use gateway_sandbox::{Grant, HostName, HttpOrigin, OnFailure, OriginError};
use gateway_store::{DatabaseUrl, UserIds};

use super::setting::Form;
use crate::pages::colour::{self, Rgb};

/// Implements [`Value`] for a type: its form, how it is read, how it is shown.
macro_rules! value {
    ($type:ty, $form:expr, $read:expr, $show:expr) => {
        impl $crate::config::value::Value for $type {
            const FORM: $crate::config::setting::Form = $form;

            fn read(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<Self, String> = $read;
                read(text)
            }

            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self)
            }
        }
    };
}

/// Declares a kind of value that the gateway works with as another type.
macro_rules! kind {
    ($(#[doc = $doc:literal])+ $kind:ident($type:ty), $form:expr, $read:expr, $show:expr) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(in crate::config) struct $kind(pub(in crate::config) $type);

        value!(
            $kind,
            $form,
            |text| {
                let read: fn(&str) -> Result<$type, String> = $read;
                read(text).map(Self)
            },
            |kind| {
                let show: fn(&$type) -> String = $show;
                show(&kind.0)
            }
        );

        inner!($kind => $type);
    };
}

/// Implements [`Value`] for a type by a table of words.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+ $(,)?) => {
        value!(
            $type,
            $crate::config::setting::Form::Words(|| vec![$($word),+]),
            |text| match text {
                $($word => Ok($value),)+
                _ => Err($crate::config::value::one_of(&[$($word),+])),
            },
            |value| {
                let words = [$(($value, $word)),+];
                let found = words.iter().find(|(known, _)| known == value);
                found.map_or("", |(_, word)| word).to_owned()
            }
        );
    };
}

macro_rules! inner {
    ($($kind:ident => $type:ty),+) => {
        $(impl From<$kind> for $type {
            fn from(kind: $kind) -> Self {
                kind.0
            }
        })+
    };
}

mod measure;
mod provider;
mod web;

pub(super) use measure::{Bytes, Count, UpTo};
pub(super) use provider::{ClientAuthMethod, Id, PresetName, Prompt, Protocol, ScopeToken, Shown};
pub(super) use web::{EndpointUrl, External, Issuer, Network, PageUrl, UpstreamUrl, WebOrigin, is_exposed};

/// A value that can be written as text.
pub(super) trait Value: Sized {
    /// How it is written in the file. It covers everything that [`Value::read`] accepts.
    const FORM: Form = Form::Scalar;
    /// The upper bound of settings that declare none.
    const MAX: Option<&'static str> = None;
    /// Whether numbers and booleans are mistakes in a list of these.
    const IS_TEXT: bool = false;

    /// # Errors
    /// The expected value, to follow "must be".
    fn read(text: &str) -> Result<Self, String>;

    fn show(&self) -> String;

    /// The quantity that bounds are compared with, if the kind has one.
    fn amount(&self) -> Option<u64> {
        None
    }
}

fn one_of(words: &[&str]) -> String {
    let (last, others) = words.split_last().unwrap_or((&"", &[]));
    format!("{} or {last}", others.join(", "))
}

value!(
    bool,
    Form::Boolean,
    |text| text.parse().map_err(|_| "true or false".into()),
    Self::to_string
);
value!(String, Form::Scalar, |text| Ok(text.to_owned()), Self::clone);
value!(
    PathBuf,
    Form::Scalar,
    |text| if text.contains('\0') {
        Err("a path".into())
    } else {
        Ok(text.into())
    },
    |path| path.display().to_string()
);
value!(
    SocketAddr,
    Form::Pattern(r"^(localhost|[0-9.]+|\[[^\]]+\]):\+?[0-9]+$"),
    |text| {
        if let Some(port) = text.strip_prefix("localhost:")
            && let Ok(port) = port.parse()
        {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        text.parse()
            .map_err(|_| "an IP address and a port, as in 127.0.0.1:8080 or [::1]:8080".into())
    },
    Self::to_string
);
value!(
    DatabaseUrl,
    Form::Pattern("^sqlite://"),
    |text| {
        text.parse().map_err(|_| {
        if text.starts_with("sqlite://") {
            "sqlite:///relative/path, sqlite:////absolute/path, or sqlite:// for a temporary database; a path cannot \
             contain `?`, `#` or NUL"
        } else {
            "a URL that starts with sqlite:// (other databases are not supported)"
        }
        .into()
    })
    },
    Self::to_string
);
value!(
    Grant,
    Form::Words(|| Self::ALL.iter().map(|grant| grant.as_str()).collect()),
    str::parse,
    |grant| grant.as_str().to_owned()
);
value!(
    HttpOrigin,
    web::FORM,
    |text| text.parse().map_err(|error| match error {
        OriginError::NoServer => "another address: no server can have this one".into(),
        _ => "an origin, scheme://host[:port], as in https://policy.example.org".into(),
    }),
    Self::to_string
);
value!(
    HostName,
    Form::Scalar,
    |text| text.parse().map_err(|_| {
        "a host name, as in policy.internal; an address is allowed if http.allow contains it".into()
    }),
    |host| host.as_str().to_owned()
);

/// A value, or `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrOff<T>(pub(super) Option<T>);

impl<T: Value> Value for OrOff<T> {
    const MAX: Option<&'static str> = T::MAX;
    const FORM: Form = Form::OrOff(&T::FORM);

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let value = T::read(text).map_err(|right| format!("{right}, or off"))?;
        Ok(Self(Some(value)))
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| "off".to_owned(), Value::show)
    }

    fn amount(&self) -> Option<u64> {
        self.0.as_ref().and_then(Value::amount)
    }
}

impl<T> From<OrOff<T>> for Option<T> {
    fn from(OrOff(value): OrOff<T>) -> Self {
        value
    }
}

kind!(
    /// In lower case.
    Sha256Hex(String),
    Form::Pattern("^[0-9A-Fa-f]{64}$"),
    |text| if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a SHA-256: 64 hex digits, as `sha256sum` prints".into())
    },
    String::clone
);
kind!(
    /// The name at the top of pages: one line of text.
    PageName(String),
    Form::Short(60),
    |text| {
        let good = (1..=60).contains(&text.chars().count()) && !text.contains(gateway_model::text::is_unsafe);
        good.then(|| text.to_owned()).ok_or_else(|| "a name of 1 to 60 characters in one line".into())
    },
    String::clone
);
kind!(
    /// The accent colour of pages, with enough contrast to be read on them.
    Accent(Rgb),
    Form::Pattern("^#[0-9A-Fa-f]{6}$"),
    |text| {
        let colour = Rgb::parse(text).ok_or("a colour, as in #2b59c3")?;
        if colour.is_readable() {
            return Ok(colour);
        }
        let contrast = colour.contrast(colour::LIGHT_PAGE);
        let (enough, readable) = (colour::ENOUGH, colour.readable());
        Err(format!(
            "darker: its contrast with the pages is {contrast:.1} to 1, and readers need {enough} to 1 (WCAG 2.2); \
             {readable} is the nearest shade that has it"
        ))
    },
    Rgb::to_string
);
kind!(
    /// The log's filter.
    Filter(String),
    Form::Scalar,
    |text| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a filter, as in info or warn,gateway=debug".into()),
    },
    String::clone
);

/// The log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsJson(pub(super) bool);

inner!(IsJson => bool);

words!(IsJson, "json" => Self(true), "text" => Self(false));
words!(UserIds, "random" => Self::Random, "email-md5" => Self::EmailMd5);
words!(OnFailure, "refuse" => Self::Refuse, "pass" => Self::Pass);

/// The name of a provider, service, plugin or extension: 1 to 64 of `A-Z a-z 0-9 _ . -`, beginning with
/// a letter, a digit or `_`. It becomes part of file names, URLs and metrics.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(['.', '-'])
        && (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Follows "must be".
pub(super) const NAME: &str =
    "a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::{Bytes, Count, OrOff, Value, is_name};
    use crate::config::schema;
    use crate::config::tests::Validator;
    use crate::rate_limit::Rate;

    /// Reads and shows again; the shown form must mean the same.
    fn round<T: Value>(text: &str) -> Option<String> {
        let shown = T::read(text).ok()?.show();
        // Editors accept it as well.
        let schema = Validator::new(schema::of(T::FORM));
        for text in [text, &shown] {
            assert_eq!(schema.check(&text.into()), Ok(()));
        }
        assert_eq!(
            T::read(&shown).ok().as_ref().map(Value::show).as_ref(),
            Some(&shown)
        );
        Some(shown)
    }

    pub(in crate::config) fn table<T: Value>(cases: &[(&str, Option<&str>)]) {
        for (text, right) in cases {
            assert_eq!(round::<T>(text).as_deref(), *right, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        table::<Duration>(&[
            ("500ms", Some("500ms")),
            ("1500ms", Some("1500ms")),
            ("90s", Some("90s")),
            ("15 m", Some("15m")),
            ("24h", Some("1d")),
            ("14d", Some("14d")),
            ("15", None),
            ("0s", None),
            ("-1s", None),
            ("1.5s", None),
            ("m", None),
            ("", None),
            ("15min", None),
            ("99999999999999999999d", None),
            ("3650d", Some("3650d")),
            ("3651d", None),
            ("99999999999d", None),
            ("213503982334d", None),
            ("９s", None),
        ]);
    }

    #[test]
    fn sizes_and_counts() {
        table::<Bytes>(&[
            ("64MiB", Some("64MiB")),
            ("65536", Some("64KiB")),
            ("1000", Some("1000")),
            ("4 GiB", Some("4GiB")),
            ("0", None),
            ("64MB", None),
            ("64mib", None),
            ("MiB", None),
            ("99999999999999GiB", None),
            ("1TiB", Some("1TiB")),
            ("1024GiB", Some("1TiB")),
            ("2TiB", None),
            ("1025GiB", None),
        ]);
        table::<Count>(&[
            ("4_000", Some("4000")),
            ("0", None),
            ("-1", None),
            ("1.0", None),
            ("many", None),
        ]);
    }

    #[test]
    fn b5_an_unreadable_accent_is_rejected() {
        table::<super::Accent>(&[
            ("#2456C5", Some("#2456c5")),
            ("#000000", Some("#000000")),
            ("#ffcc00", None),
            ("#ffffff", None),
            ("blue", None),
        ]);
        let said = super::Accent::read("#ffcc00").unwrap_err();
        assert!(
            said.contains("1.4 to 1") && said.contains("nearest shade"),
            "{said}"
        );
        let nearest = said.split('#').nth(1).and_then(|rest| rest.get(..6)).unwrap();
        assert!(super::Accent::read(&format!("#{nearest}")).is_ok(), "{said}");
    }

    #[test]
    fn names_of_pages_are_one_line() {
        let long = "x".repeat(61);
        table::<super::PageName>(&[
            ("Acme Zürich", Some("Acme Zürich")),
            ("", None),
            (&long, None),
            ("a\nb", None),
            ("a\u{202e}b", None),
        ]);
    }

    #[test]
    fn rates() {
        table::<OrOff<Rate>>(&[
            ("300/m", Some("300/m")),
            ("5/s", Some("5/s")),
            ("1000 / h", Some("1000/h")),
            ("off", Some("off")),
            ("0/m", None),
            ("-1/m", None),
            ("4294967296/m", None),
            ("5", None),
            ("5/", None),
            ("/m", None),
            ("5/d", None),
            ("5/2m", None),
        ]);
    }

    #[test]
    fn addresses() {
        table::<SocketAddr>(&[
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:0", Some("[::1]:0")),
            ("localhost:8080", Some("127.0.0.1:8080")),
            ("127.0.0.1", None),
            ("example.org:80", None),
        ]);
        table::<OrOff<SocketAddr>>(&[
            ("off", Some("off")),
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("none", None),
        ]);
    }

    #[test]
    fn names_stay_in_their_directory() {
        for good in ["example", "dpg_sample-Provider.v2", "_x", "7"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "a/b",
            "a\\b",
            "a b",
            "ä",
            "a\0",
            "a:b",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
