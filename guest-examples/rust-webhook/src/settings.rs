//! The settings. Independent of the gateway, so that it can be tested alone.
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | where messages are posted |
//! | `timeout` | how long one delivery may take |
//! | `undelivered` | `refuse` or `pass`: whether the sign-in continues if the message cannot be delivered |

use std::time::Duration;

/// The parsed settings.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// An absolute http or https URL.
    pub url: String,
    /// For one message and its whole response.
    pub timeout: Duration,
    /// Whether the user may sign in if the webhook cannot be reached.
    pub pass: bool,
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
            pass: false,
        };
        for (name, value) in settings {
            read.one(&name, value)
                .map_err(|mistake| format!("setting `{name}`: {mistake}"))?;
        }
        if read.url.is_empty() {
            return Err("the setting `url` is missing: set it to the URL of the webhook".to_owned());
        }
        Ok(read)
    }

    fn one(&mut self, name: &str, value: String) -> Result<(), String> {
        match (name, value.as_str()) {
            ("url", url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                return Err("write a whole URL, as in \"https://crm.example.org/hooks/users\"".to_owned());
            }
            ("url", _) => self.url = value,
            ("timeout", text) => {
                self.timeout = humantime::parse_duration(text)
                    .map_err(|error| format!("{error}; write \"300ms\" or \"2s\""))?;
                if self.timeout.is_zero() {
                    return Err("must be longer than 0".to_owned());
                }
            }
            ("undelivered", "refuse") => self.pass = false,
            ("undelivered", "pass") => self.pass = true,
            ("undelivered", _) => return Err("write \"refuse\" or \"pass\"".to_owned()),
            _ => {
                return Err(
                    "there is no such setting; they are `url`, `timeout` and `undelivered`".to_owned(),
                );
            }
        }
        Ok(())
    }
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
    fn reads_them_all() {
        let url = "https://crm.example.org/hooks/users";
        let expected = |timeout, pass| Settings {
            url: url.to_owned(),
            timeout: Duration::from_millis(timeout),
            pass,
        };
        assert_eq!(settings(&[("url", url)]), Ok(expected(300, false)));
        let all = [("url", url), ("timeout", "2s"), ("undelivered", "pass")];
        assert_eq!(settings(&all), Ok(expected(2000, true)));
    }

    #[test]
    fn says_what_is_wrong() {
        for (wrong, mistake) in [
            (&[][..], "the setting `url` is missing"),
            (&[("url", "crm.example.org")], "setting `url`: write a whole URL"),
            (&[("timeout", "0s")], "setting `timeout`: must be longer than 0"),
            (&[("timeout", "2")], "setting `timeout`: "),
            (
                &[("undelivered", "ignore")],
                "setting `undelivered`: write \"refuse\" or \"pass\"",
            ),
            (&[("uri", "x")], "setting `uri`: there is no such setting"),
        ] {
            let error = settings(wrong).unwrap_err();
            assert!(error.contains(mistake), "{wrong:?}: {error}");
        }
    }
}
