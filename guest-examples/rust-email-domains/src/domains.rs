//! Checks which email addresses are allowed. Independent of the gateway, so that it can be tested alone.

/// The parsed settings.
#[derive(Debug, PartialEq)]
pub struct Rules {
    /// In lower case.
    domains: Vec<String>,
    /// Whether `example.org` also allows `mail.example.org`.
    subdomains: bool,
    /// Upstream providers that are trusted with addresses; `None` trusts all.
    providers: Option<Vec<String>>,
    /// The attribute for the domain of an admitted user.
    pub attribute: String,
}

impl Rules {
    /// Parses the settings: names and values.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn read(settings: Vec<(String, String)>) -> Result<Self, String> {
        let mut rules = Self {
            domains: Vec::new(),
            subdomains: false,
            providers: None,
            attribute: "email-domain".to_owned(),
        };
        for (name, value) in settings {
            match (name.as_str(), value.as_str()) {
                ("domains", list) => rules.domains = words(&list.to_lowercase()),
                ("subdomains", "true") => rules.subdomains = true,
                ("subdomains", "false") => rules.subdomains = false,
                ("subdomains", _) => {
                    return Err(format!(
                        "the setting `subdomains` must be true or false, not `{value}`"
                    ));
                }
                ("providers", list) => rules.providers = Some(words(list)),
                ("attribute", _) => rules.attribute = value,
                _ => {
                    return Err(format!(
                        "there is no setting `{name}`; the settings are `domains`, `subdomains`, `providers` and `attribute`"
                    ));
                }
            }
        }
        if rules.domains.is_empty() {
            return Err(
                "the setting `domains` is missing: list the domains to accept, as in \"example.org\""
                    .to_owned(),
            );
        }
        if let Some(wrong) = rules.domains.iter().find(|domain| !is_domain(domain)) {
            return Err(format!(
                "the setting `domains` names `{wrong}`, which is not a domain: write \"example.org\""
            ));
        }
        Ok(rules)
    }

    /// The domain of an allowed address, in lower case. `email` is verified by an upstream provider, and `provider` is
    /// the one that the person signs in with.
    ///
    /// # Errors
    /// A sentence for the person.
    pub fn judge(&self, email: Option<&str>, provider: &str) -> Result<String, String> {
        if self
            .providers
            .as_ref()
            .is_some_and(|providers| !providers.iter().any(|known| known == provider))
        {
            return Err(format!(
                "Signing in with {provider} is not possible here. Please choose another way."
            ));
        }
        let Some(email) = email else {
            return Err(
                "You need a verified email address to sign in here, and your account has none.".to_owned(),
            );
        };
        // The last `@`, because the local part may contain quoted ones (RFC 5321 section 4.1.2).
        let domain = email
            .rsplit_once('@')
            .map(|(_, domain)| domain.to_lowercase())
            .unwrap_or_default();
        if self.domains.iter().any(|allowed| self.covers(allowed, &domain)) {
            Ok(domain)
        } else {
            Err(format!(
                "Only users with an address at {} can sign in here, and yours is {email}.",
                self.domains.join(" or ")
            ))
        }
    }

    fn covers(&self, allowed: &str, domain: &str) -> bool {
        match domain.strip_suffix(allowed) {
            Some("") => true,
            // The dot excludes `notexample.org` if `example.org` is allowed.
            Some(rest) => self.subdomains && rest.ends_with('.') && rest.len() > 1,
            None => false,
        }
    }
}

fn words(list: &str) -> Vec<String> {
    list.split([',', ' ', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_domain(text: &str) -> bool {
    text.split('.')
        .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::Rules;

    fn rules(settings: &[(&str, &str)]) -> Result<Rules, String> {
        Rules::read(
            settings
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn listed_domains_are_admitted_in_lower_case() {
        let rules = rules(&[("domains", "Example.org, example.com")]).unwrap();
        for (email, domain) in [
            ("neo@example.org", "example.org"),
            ("Neo@EXAMPLE.com", "example.com"),
            ("\"a@evil.example\"@example.org", "example.org"),
        ] {
            assert_eq!(
                rules.judge(Some(email), "google"),
                Ok(domain.to_owned()),
                "{email}"
            );
        }
    }

    #[test]
    fn other_addresses_are_rejected() {
        let rules = rules(&[("domains", "example.org")]).unwrap();
        for email in [
            "neo@notexample.org",
            "neo@mail.example.org",
            "neo@example.org.evil.example",
            "neo@example.org@evil.example",
            "neo@.example.org",
            "neo@example.org.",
            "neo@example.org ",
            "neo@example.org\0",
            "example.org",
            "neo@",
            "",
        ] {
            let sentence = rules.judge(Some(email), "google").expect_err(email);
            assert!(
                sentence.starts_with("Only users with an address at example.org can"),
                "{sentence}"
            );
        }
        let sentence = rules.judge(None, "google").unwrap_err();
        assert_eq!(
            sentence,
            "You need a verified email address to sign in here, and your account has none."
        );
    }

    #[test]
    fn subdomains_are_admitted_if_enabled() {
        let rules = rules(&[("domains", "example.org"), ("subdomains", "true")]).unwrap();
        assert_eq!(
            rules.judge(Some("neo@mail.example.org"), "x"),
            Ok("mail.example.org".to_owned())
        );
        assert_eq!(
            rules.judge(Some("neo@example.org"), "x"),
            Ok("example.org".to_owned())
        );
        for email in [
            "neo@notexample.org",
            "neo@.example.org",
            "neo@example.org.evil.example",
        ] {
            assert!(rules.judge(Some(email), "x").is_err(), "{email}");
        }
    }

    #[test]
    fn only_listed_providers_are_trusted() {
        let rules = rules(&[("domains", "example.org"), ("providers", "google, github")]).unwrap();
        assert!(rules.judge(Some("neo@example.org"), "github").is_ok());
        let sentence = rules.judge(Some("neo@example.org"), "anybody").unwrap_err();
        assert_eq!(
            sentence,
            "Signing in with anybody is not possible here. Please choose another way."
        );
    }

    #[test]
    fn says_what_is_wrong_with_the_settings() {
        for (settings, mistake) in [
            (&[][..], "`domains` is missing"),
            (&[("domains", " , ")], "`domains` is missing"),
            (
                &[("domains", "@example.org")],
                "`@example.org`, which is not a domain",
            ),
            (
                &[("domains", "*.example.org")],
                "`*.example.org`, which is not a domain",
            ),
            (&[("domains", "example..org")], "not a domain"),
            (&[("domain", "example.org")], "there is no setting `domain`"),
            (
                &[("domains", "example.org"), ("subdomains", "yes")],
                "true or false, not `yes`",
            ),
        ] {
            let error = rules(settings).unwrap_err();
            assert!(error.contains(mistake), "{error}");
        }
    }
}
