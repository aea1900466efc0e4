//! The settings. Independent of the gateway, so that it can be tested alone.
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | the policy service |
//! | `timeout` | the timeout of one question and its whole answer |
//! | `cache` | how long an answer is fresh |
//! | `stale` | how long after that it can be used if the policy service is out of reach |
//! | `report` | log the counts after this many answers of one kind; 0 disables counting |
//! | `statistics-service` | the service that shows the counts |
//! | `statistics-users` | ids of the users who may see them |

use std::time::Duration;

/// The parsed settings.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// An absolute http or https URL.
    pub url: String,
    /// For one question and its whole answer.
    pub timeout: Duration,
    /// How long an answer is fresh.
    pub cache: Duration,
    /// How much longer it can be used if the policy service is out of reach.
    pub stale: Duration,
    /// Log the counts after this many answers of one kind.
    pub report: u64,
    /// The name of the service that shows the counts.
    pub statistics_service: Option<String>,
    /// The users who may see them.
    pub statistics_users: Vec<String>,
}

impl Settings {
    /// Parses the settings: names and values.
    ///
    /// # Errors
    /// A sentence for the operator that names the setting.
    pub fn read(settings: Vec<(String, String)>) -> Result<Self, String> {
        let mut read = Self {
            url: String::new(),
            timeout: Duration::from_millis(300),
            cache: Duration::from_secs(30),
            stale: Duration::ZERO,
            report: 100,
            statistics_service: None,
            statistics_users: Vec::new(),
        };
        for (name, value) in settings {
            read.one(&name, value)
                .map_err(|mistake| format!("setting `{name}`: {mistake}"))?;
        }
        if read.url.is_empty() {
            return Err("the setting `url` is missing: set it to the URL of the policy service".to_owned());
        }
        Ok(read)
    }

    fn one(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "url" if !value.starts_with("http://") && !value.starts_with("https://") => {
                return Err(
                    "write a whole URL, as in \"https://policy.example.org/v1/data/gateway\"".to_owned(),
                );
            }
            "url" => self.url = value,
            "timeout" => {
                self.timeout = duration(&value)?;
                if self.timeout.is_zero() {
                    return Err("must be longer than 0".to_owned());
                }
            }
            "cache" => self.cache = duration(&value)?,
            "stale" => self.stale = duration(&value)?,
            "report" => self.report = value.parse().map_err(|_| "write a whole number".to_owned())?,
            "statistics-service" => self.statistics_service = Some(value),
            "statistics-users" => {
                let ids = value
                    .split([',', '\n'])
                    .map(str::trim)
                    .filter(|id| !id.is_empty());
                self.statistics_users = ids.map(str::to_owned).collect();
            }
            _ => {
                return Err(
                    "there is no such setting; they are `url`, `timeout`, `cache`, `stale`, `report`, \
                     `statistics-service` and `statistics-users`"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value).map_err(|error| format!("{error}; write \"300ms\", \"30s\" or \"5m\""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Settings;

    fn settings(settings: &[(&str, &str)]) -> Result<Settings, String> {
        let settings = settings.iter();
        Settings::read(
            settings
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let read = settings(&[("url", "https://policy.example.org/")]).unwrap();
        assert_eq!(read.timeout, Duration::from_millis(300));
        assert_eq!(
            (read.cache, read.stale),
            (Duration::from_secs(30), Duration::ZERO)
        );
        assert_eq!((read.report, read.statistics_service), (100, None));
    }

    #[test]
    fn reads_them_all() {
        let read = settings(&[
            ("url", "http://127.0.0.1:8181/v1/data/gateway/permissions"),
            ("timeout", "1s 500ms"),
            ("cache", "0s"),
            ("stale", "5m"),
            ("report", "0"),
            ("statistics-service", "policy-cache"),
            ("statistics-users", "a, b"),
        ]);
        let expected = Settings {
            url: "http://127.0.0.1:8181/v1/data/gateway/permissions".into(),
            timeout: Duration::from_millis(1500),
            cache: Duration::ZERO,
            stale: Duration::from_secs(300),
            report: 0,
            statistics_service: Some("policy-cache".into()),
            statistics_users: vec!["a".into(), "b".into()],
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn says_what_is_wrong() {
        for (wrong, mistake) in [
            (&[][..], "the setting `url` is missing"),
            (
                &[("url", "policy.example.org")],
                "setting `url`: write a whole URL",
            ),
            (
                &[("url", "ftp://policy.example.org")],
                "setting `url`: write a whole URL",
            ),
            (&[("timeout", "0s")], "setting `timeout`: must be longer than 0"),
            (&[("cache", "30")], "setting `cache`: "),
            (&[("stale", "-1s")], "setting `stale`: "),
            (&[("report", "often")], "setting `report`: write a whole number"),
            (&[("uri", "x")], "setting `uri`: there is no such setting"),
        ] {
            let error = settings(wrong).unwrap_err();
            assert!(error.contains(mistake), "{wrong:?}: {error}");
        }
    }
}
