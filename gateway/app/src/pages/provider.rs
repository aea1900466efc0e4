//! How a way to sign in looks: its display name and its mark. The marks are drawn for these pages, in one colour.

use super::Frame;
use super::branding::Logo;
use super::texts::fill;
use crate::app::DEV_PROVIDER;

/// A way to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Its name in addresses and in `provider_id`.
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) mark: Mark,
}

/// A way to sign in on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice<'a> {
    pub(crate) offer: &'a Offer,
    pub(crate) link: String,
}

impl Offer {
    pub(crate) fn new(name: &str, display_name: Option<&str>, icon: Option<&str>) -> Self {
        let label = label(name, display_name);
        Self {
            name: name.to_owned(),
            mark: mark(name, icon, &label),
            label,
        }
    }

    /// Uses the operator's picture instead of the mark.
    pub(crate) fn with_picture(mut self, picture: Logo) -> Self {
        self.mark = Mark::Picture(picture);
        self
    }

    pub(crate) const fn picture(&self) -> Option<&Logo> {
        match &self.mark {
            Mark::Picture(picture) => Some(picture),
            Mark::Path(_) | Mark::Initial(_) => None,
        }
    }

    pub(crate) fn development() -> Self {
        Self {
            name: DEV_PROVIDER.to_owned(),
            label: "gateway dev".to_owned(),
            mark: Mark::Path(TEST_USER),
        }
    }
}

impl Choice<'_> {
    pub(super) fn text(&self, frame: &Frame<'_>) -> String {
        let texts = &frame.texts.common;
        if self.offer.name == DEV_PROVIDER {
            texts.test_user.clone()
        } else {
            fill(&texts.continue_with, &[("provider", &self.offer.label)])
        }
    }
}

/// The picture beside the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// SVG path data of an outline, 24 by 24.
    Path(&'static str),
    /// The operator's file, served at `/assets/provider/<name>`.
    Picture(Logo),
    Initial(char),
}

/// A flask.
const TEST_USER: &str =
    "M9 2.5h6v2h-1v4.6l5.4 8.9a2 2 0 0 1-1.7 3H6.3a2 2 0 0 1-1.7-3L10 9.1V4.5H9zM10 12l-2 3.5h8L14 12z";

/// The outline of Gitea and its fork.
const CUP: &str = "M3.5 6.5h13.8v1.8h1.2a3.4 3.4 0 0 1 0 6.8h-1.6a5.5 5.5 0 0 1-5.2 3.9H9a5.5 5.5 0 0 1-5.5-5.5zM17.3 10.5v2.4h1.2a1.2 \
         1.2 0 0 0 0-2.4z";

/// Well-known providers: their names in the configuration, their display names, their outlines.
const KNOWN: [(&[&str], &str, &str); 21] = [
    (
        &["google"],
        "Google",
        "M12 3a9 9 0 1 0 9 9v-1.5h-9v3.3h5.2A5.6 5.6 0 1 1 15.8 7.8l2.4-2.4A9 9 0 0 0 12 3z",
    ),
    (
        &["github"],
        "GitHub",
        "M4.6 3.3l4.2 2.2a11 11 0 0 1 6.4 0l4.2-2.2c.9 1.8 1 3.5.5 5 .9 1.2 1.4 2.7 1.4 4.4 0 5-4 7.8-9.3 \
         7.8S2.7 17.7 2.7 12.7c0-1.7.5-3.2 1.4-4.4-.5-1.5-.4-3.2.5-5zM8.3 11.3c-1.5 0-2.5 1.2-2.5 2.8 0 2.4 \
         2.5 3.7 6.2 3.7s6.2-1.3 6.2-3.7c0-1.6-1-2.8-2.5-2.8-1.1 0-2 .4-3.7.4s-2.6-.4-3.7-.4z",
    ),
    (
        &["gitlab"],
        "GitLab",
        "M12 21.2L2.3 13.8 5.6 3.5l2.7 7h7.4l2.7-7 3.3 10.3z",
    ),
    (
        &["microsoft", "entra", "azure", "azuread", "office365"],
        "Microsoft",
        "M3 3h8.5v8.5H3zM12.5 3H21v8.5h-8.5zM3 12.5h8.5V21H3zM12.5 12.5H21V21h-8.5z",
    ),
    (
        &["apple"],
        "Apple",
        "M15.7 2.5c.2 2.3-1.6 4.4-3.9 4.5-.2-2.2 1.6-4.3 3.9-4.5zM12 8.2c1 0 2.2-.9 4-.9 1.5 0 2.9.8 3.7 \
         2-3 1.7-2.6 5.8.5 7-.8 2.4-2.6 5.2-4.5 5.2-1.3 0-1.9-.8-3.6-.8s-2.4.8-3.6.8C5.8 21.5 4 16.6 4 13.2c0-3.7 \
         2.3-5.8 4.6-5.8 1.6 0 2.5.8 3.4.8z",
    ),
    (
        &["discord"],
        "Discord",
        "M6 5.3c4-1.3 8-1.3 12 0 2.3 3.5 3.3 7.5 3 11.8-1.5 1.2-3.2 1.9-4.9 2.4l-1.3-2.2c-1.9.4-3.7.4-5.6 \
         0l-1.3 2.2C6.2 19 4.5 18.3 3 17.1c-.3-4.3.7-8.3 3-11.8zM9 10.3a1.7 1.9 0 1 0 .01 0zM15 10.3a1.7 1.9 0 1 0 .01 0z",
    ),
    (
        &["linkedin"],
        "LinkedIn",
        "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM6.5 10v7.5H9V10zM7.75 6.2a1.5 1.5 0 1 \
         0 .01 0zM11 10v7.5h2.5v-4c0-1 .5-1.6 1.4-1.6s1.3.6 1.3 1.6v4h2.5V13c0-2.1-1.1-3.2-2.8-3.2-1.1 0-1.9.5-2.4 1.2V10z",
    ),
    (
        &["facebook"],
        "Facebook",
        "M12 2.5a9.5 9.5 0 1 1-.01 0zM13.3 21.7v-7.5h2.4l.4-2.8h-2.8V9.7c0-.8.4-1.6 1.6-1.6h1.3V5.7c-.7-.1-1.4-.2-2-.2-2.2 \
         0-3.6 1.3-3.6 3.7v2.2H8.1v2.8h2.5v7.5z",
    ),
    (
        &["slack"],
        "Slack",
        "M8 3h1a1.5 1.5 0 0 1 1.5 1.5V11H8a1.5 1.5 0 0 1-1.5-1.5v-5A1.5 1.5 0 0 1 8 3zM21 8v1a1.5 1.5 0 0 1-1.5 \
         1.5H13V8a1.5 1.5 0 0 1 1.5-1.5h5A1.5 1.5 0 0 1 21 8zM16 21h-1a1.5 1.5 0 0 1-1.5-1.5V13H16a1.5 1.5 0 0 1 1.5 \
         1.5v5A1.5 1.5 0 0 1 16 21zM3 16v-1a1.5 1.5 0 0 1 1.5-1.5H11V16a1.5 1.5 0 0 1-1.5 1.5h-5A1.5 1.5 0 0 1 3 16z",
    ),
    (
        &["okta"],
        "Okta",
        "M12 2.5a9.5 9.5 0 1 1-.01 0zM12 7.5a4.5 4.5 0 1 0 .01 0z",
    ),
    (
        &["auth0"],
        "Auth0",
        "M12 2.3l8.3 3v6.2c0 4.8-3.3 8.5-8.3 10.2-5-1.7-8.3-5.4-8.3-10.2V5.3zM12 7l-1.2 3.6H7l3 2.2-1.1 3.6L12 \
         14.2l3.1 2.2-1.1-3.6 3-2.2h-3.8z",
    ),
    (
        &["keycloak"],
        "Keycloak",
        "M7.2 3.5h9.6l4.9 8.5-4.9 8.5H7.2L2.3 12zM12 7.3a2.9 2.9 0 0 0-1.4 5.4v3.9h2.8v-3.9A2.9 2.9 0 0 0 12 7.3z",
    ),
    (&["zitadel"], "Zitadel", "M12 2.8l9.7 17.4H2.3zM12 9.2l-4 7.4h8z"),
    (
        &["cognito"],
        "Amazon Cognito",
        "M12 2.3l8.5 4.9v9.6L12 21.7l-8.5-4.9V7.2zM12 6.5a2.8 2.8 0 1 0 .01 0zM7.3 17h9.4c0-2.7-2-4.2-4.7-4.2S7.3 14.3 7.3 17z",
    ),
    (
        &["twitch"],
        "Twitch",
        "M4 2.8h17v11.4l-4.8 4.8h-4L9 22v-3H4zM10.5 7.3v5h2v-5zM15.5 7.3v5h2v-5z",
    ),
    (
        &["bitbucket"],
        "Bitbucket",
        "M2.5 3.8h19l-2.9 16.4H5.4zM9.2 9.3l1 5.4h3.6l1-5.4z",
    ),
    (&["gitea"], "Gitea", CUP),
    (&["forgejo"], "Forgejo", CUP),
    (
        &["authelia"],
        "Authelia",
        "M12 2.3l8.3 3v6.2c0 4.8-3.3 8.5-8.3 10.2-5-1.7-8.3-5.4-8.3-10.2V5.3zM12 6.5L7.5 16.5h2.4l.8-2h2.6l.8 2h2.4zM12 10.2l.8 2.3h-1.6z",
    ),
    (
        &["authentik"],
        "authentik",
        "M3 4.5h18v15H3zM6 9v6h2.5v-2.5h2V15H13v-2.5h1.5A3 3 0 1 0 14.5 9z",
    ),
    (
        &["kanidm"],
        "Kanidm",
        "M5 12.5a7 7.5 0 0 1 14 0c0 4-3 8-7 8s-7-4-7-8zM4.5 5.5l2-2.5 2.5 3zM19.5 5.5l-2-2.5-2.5 3zM9.5 11a1.5 1.5 0 1 0 .01 0zM14.5 11a1.5 1.5 0 1 0 .01 0z",
    ),
];

fn known(name: &str) -> Option<&'static (&'static [&'static str], &'static str, &'static str)> {
    KNOWN
        .iter()
        .find(|(names, _, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// The configured display name, the well-known one, or the name in the configuration.
fn label(name: &str, display_name: Option<&str>) -> String {
    let known = || known(name).map(|(_, label, _)| *label);
    display_name.or_else(known).unwrap_or(name).to_owned()
}

/// The mark that the configuration names, the one for the provider's name, or the first letter of its `label`.
fn mark(name: &str, icon: Option<&str>, label: &str) -> Mark {
    if let Some((_, _, path)) = icon.and_then(known).or_else(|| known(name)) {
        return Mark::Path(path);
    }
    let initial = label.chars().find(|c| c.is_alphanumeric()).unwrap_or('?');
    Mark::Initial(initial.to_uppercase().next().unwrap_or(initial))
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, Mark, label, mark};

    #[test]
    fn well_known_providers_have_their_name_and_mark() {
        assert_eq!(label("google", None), "Google");
        assert_eq!(label("google", Some("Acme staff")), "Acme staff");
        assert_eq!(label("zulu", None), "zulu");
        assert_eq!(label("entra", None), "Microsoft");
        assert!(matches!(mark("google", None, "Google"), Mark::Path(_)));
        assert_eq!(
            mark("work", Some("entra"), "Work"),
            mark("microsoft", None, "Microsoft")
        );
        assert_eq!(mark("zulu", None, "zulu"), Mark::Initial('Z'));
        assert_eq!(mark("-", None, "-"), Mark::Initial('?'));
    }

    #[test]
    fn outlines_are_path_data() {
        for (_, name, path) in KNOWN {
            let ok = |c: char| c.is_ascii_digit() || " .-,AaCcHhLlMmSsVvZz".contains(c);
            assert!(path.starts_with('M') && path.chars().all(ok), "{name}");
        }
    }
}
