//! How values are written: durations, sizes, addresses and the like, in the file and in variables alike.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use gateway_sandbox::{Grant, HostName, HttpOrigin, OnFailure, OriginError};
use gateway_store::{DatabaseUrl, UserIds};

use super::setting::Form;
use crate::pages::colour::{self, Rgb};

/// Of a kind that is only a way of writing, what is written.
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
mod words;

use words::words;

pub(super) use measure::{Bytes, Count, DurationOrOff, RateOrOff, UpTo};
pub(super) use provider::{ClientAuthMethod, Id, PresetName, Prompt, Protocol, ScopeToken, Shown};
pub(super) use web::{EndpointUrl, External, Issuer, Network, PageUrl, UpstreamUrl, WebOrigin, is_exposed};

/// A value that can be written as text.
pub(super) trait Value: Sized {
    /// How it is written in the file. It covers whatever [`Value::read`] accepts.
    const FORM: Form = Form::Scalar;
    /// The most that a setting may be that declares no bound.
    const MAX: Option<&'static str> = None;
    /// Whether numbers and booleans are mistakes in a list of these.
    const IS_TEXT: bool = false;

    /// Reads it.
    ///
    /// # Errors
    /// What would be right, to follow "must be".
    fn read(text: &str) -> Result<Self, String>;

    /// As it would be written.
    fn show(&self) -> String;

    /// What bounds are compared by, for values that can have some.
    fn amount(&self) -> Option<u64> {
        None
    }
}

impl Value for bool {
    const FORM: Form = Form::Boolean;

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".into()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            Err("a path".into())
        } else {
            Ok(text.into())
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for SocketAddr {
    const FORM: Form = Form::Pattern(r"^(localhost|[0-9.]+|\[[^\]]+\]):\+?[0-9]+$");

    fn read(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix("localhost:")
            && let Ok(port) = port.parse()
        {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        text.parse()
            .map_err(|_| "an IP address and a port, as in 127.0.0.1:8080 or [::1]:8080".into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressOrOff(pub(super) Option<SocketAddr>);

impl Value for AddressOrOff {
    const FORM: Form = Form::OrOff(&SocketAddr::FORM);

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = SocketAddr::read(text).map_err(|right| format!("{right}, or off"))?;
        Ok(Self(Some(address)))
    }

    fn show(&self) -> String {
        self.0
            .map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// A SHA-256, 64 hex digits; kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sha256Hex(pub(super) String);

impl Value for Sha256Hex {
    const FORM: Form = Form::Pattern("^[0-9A-Fa-f]{64}$");

    fn read(text: &str) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("a SHA-256: 64 hex digits, as `sha256sum` prints".into())
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Value for DatabaseUrl {
    const FORM: Form = Form::Pattern("^sqlite://");

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("another one: {error}"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Grant {
    const FORM: Form = Form::Words(|| Self::ALL.iter().map(|grant| grant.as_str()).collect());

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Value for HttpOrigin {
    const FORM: Form = web::FORM;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| match error {
            OriginError::NoServer => "another address: no server can be at this one".into(),
            _ => "an origin, scheme://host[:port], as in https://policy.example.org".into(),
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for HostName {
    fn read(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "a host's name, as in policy.internal; an address is allowed where http.allow has it";
        text.parse().map_err(|_| RIGHT.into())
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

/// The log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsJson(pub(super) bool);

inner!(
    AddressOrOff => Option<SocketAddr>,
    Sha256Hex => String,
    IsJson => bool,
    PageName => String,
    Accent => Rgb,
    Filter => String
);

words!(IsJson, "json" => Self(true), "text" => Self(false));
words!(UserIds, "random" => Self::Random, "email-md5" => Self::EmailMd5);
words!(OnFailure, "refuse" => Self::Refuse, "pass" => Self::Pass);

/// The name at the top of pages: a line of text.
#[derive(Clone, Debug)]
pub(super) struct PageName(pub(super) String);

impl Value for PageName {
    const FORM: Form = Form::Short(60);

    fn read(text: &str) -> Result<Self, String> {
        let is_plain = !text.chars().any(gateway_model::text::is_unsafe);
        if is_plain && !text.is_empty() && text.chars().count() <= 60 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name of 1 to 60 characters in one line".into())
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The accent of pages: a colour that can be read on them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accent(pub(super) Rgb);

impl Value for Accent {
    const FORM: Form = Form::Pattern("^#[0-9A-Fa-f]{6}$");

    fn read(text: &str) -> Result<Self, String> {
        let colour = Rgb::parse(text).ok_or("a colour, as in #2b59c3")?;
        if colour.is_readable() {
            return Ok(Self(colour));
        }
        let contrast = colour.contrast(colour::LIGHT_PAGE);
        let (enough, readable) = (colour::ENOUGH, colour.readable());
        Err(format!(
            "darker: its contrast with the pages is {contrast:.1} to 1, and people need {enough} to 1 (WCAG 2.2); \
             {readable} is the nearest shade that has it"
        ))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// The log's filter.
#[derive(Clone, Debug)]
pub(super) struct Filter(pub(super) String);

impl Value for Filter {
    fn read(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| "a filter, as in info or warn,gateway=debug".into())
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The name of a provider, service, plugin or extension: 1 to 64 of `A-Z a-z 0-9 _ . -`, beginning with
/// a letter, a digit or `_`. It becomes part of file names, URLs and metrics.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(['.', '-'])
        && (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// What a name must be, to follow "must be".
pub(super) const NAME: &str =
    "a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::{AddressOrOff, Bytes, Count, Value, is_name};
    use crate::config::schema;
    use crate::config::tests::Validator;

    /// Reads and shows again; the shown form must mean the same.
    fn round<T: Value>(text: &str) -> Option<String> {
        let shown = T::read(text).ok()?.show();
        // Editors take it as well.
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
    fn b5_the_accent_of_pages_can_be_read() {
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
    fn names_of_pages_are_a_line() {
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
        table::<super::RateOrOff>(&[
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
        table::<AddressOrOff>(&[
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
