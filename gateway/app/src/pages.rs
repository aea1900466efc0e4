//! The gateway's HTML pages. The templates escape all text.
//!
//! | module | contents |
//! |---|---|
//! | [`branding`] | the operator's name, logo and colour |
//! | [`colour`] | contrast, and readable shades |
//! | [`language`] | which translation a browser gets |
//! | [`texts`] | the texts, one file for each language |
//! | [`provider`] | names and marks of ways to sign in |
//! | [`failure`] | everything that an error page can be about |
//! | [`choose_user`] | the page of the development sign-in |
//!
//! The templates, the texts, the style sheet and the script are in `templates/`. A page has no inline scripts or
//! styles, so the policy forbids them. Only users' pictures come from other hosts.

use askama::Template;

pub(crate) mod branding;
#[cfg(feature = "dev")]
mod choose_user;
pub(crate) mod colour;
pub(crate) mod failure;
pub(crate) mod language;
pub(crate) mod provider;
mod texts;

pub(crate) use branding::Branding;
#[cfg(feature = "dev")]
pub(crate) use choose_user::{CHOOSE_USER_CSP, Person, choose_user};
pub(crate) use failure::Failure;
pub(crate) use language::Language;
pub(crate) use provider::{Choice, Mark, Offer};

use texts::{Texts, fill};

/// `Content-Security-Policy` (level 3) of the gateway's own page, which has a script and shows users' pictures.
pub(crate) const HOME_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
                            connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `Content-Security-Policy` of every other page.
pub(crate) const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; \
                       base-uri 'none'; frame-ancestors 'none'";

/// `Content-Security-Policy` of the operator's logo. If it is opened as a document, none of its scripts run, and it has
/// no origin. Styles inside an SVG stay allowed, because some browsers apply this policy to images as well.
pub(crate) const LOGO_CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";

/// The style sheet without the operator's colour. `/assets/gateway.css` is [`Branding::css`].
pub(crate) const CSS: &str = include_str!("../templates/gateway.css");

/// `/assets/gateway.js`, a module.
pub(crate) const JS: &str = include_str!("../templates/gateway.js");

/// The parts that all pages have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    branding: &'a Branding,
    language: Language,
    texts: &'static Texts,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(branding: &'a Branding, language: Language) -> Self {
        Self {
            branding,
            language,
            texts: language.texts(),
        }
    }

    pub(crate) const fn language(&self) -> Language {
        self.language
    }
}

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    frame: Frame<'a>,
    home: &'a str,
    choices: &'a [Choice<'a>],
    names: String,
    script_texts: String,
    verify: [String; 3],
}

/// The gateway's own page. `home` is the gateway's origin, and `names` are the providers' display names. The page is
/// the same for everyone; its script finds out who is signed in.
pub(crate) fn index(frame: Frame<'_>, home: &str, choices: &[Choice<'_>], names: &[(&str, &str)]) -> String {
    let names: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .map(|(name, label)| ((*name).to_owned(), (*label).into()))
        .collect();
    let texts = &frame.texts.home;
    rendered(&Index {
        frame,
        home,
        choices,
        names: json(&names),
        script_texts: json(&frame.texts.script),
        verify: around(&texts.verify, ["{key_set}", "{public_key}"]),
    })
}

/// The parts of a text before, between and after two placeholders.
fn around(text: &str, [first, second]: [&str; 2]) -> [String; 3] {
    let (before, rest) = text.split_once(first).unwrap_or((text, ""));
    let (between, after) = rest.split_once(second).unwrap_or((rest, ""));
    [before, between, after].map(str::to_owned)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    frame: Frame<'a>,
    to: Option<String>,
    choices: &'a [Choice<'a>],
}

/// The page with all ways to sign in. `place` is where the sign-in leads, for display.
pub(crate) fn sign_in(frame: Frame<'_>, place: Option<&str>, choices: &[Choice<'_>]) -> String {
    let to = place.map(|place| fill(&frame.texts.sign_in.to, &[("place", place)]));
    rendered(&SignIn { frame, to, choices })
}

/// The links of an error page, and the id that the user can quote. A link that is neither an absolute path nor an
/// http(s) URL is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways<'a> {
    /// Begins another sign-in like this one.
    pub(crate) again: Option<String>,
    /// Shows all ways to sign in.
    pub(crate) another: Option<String>,
    /// Back to where the user came from: the address, and its name.
    pub(crate) back: Option<(String, String)>,
    /// The provider's display name.
    pub(crate) provider: Option<String>,
    /// The request's id in the log.
    pub(crate) reference: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame<'a>,
    status: String,
    title: &'a str,
    message: String,
    reason: Option<&'a str>,
    again: Option<(&'a str, &'a str)>,
    another: Option<&'a str>,
    back: Option<(&'a str, String)>,
    reference: Option<&'a str>,
}

/// A page that says what went wrong, with links back and to a new sign-in.
pub(crate) fn error(frame: Frame<'_>, failure: &Failure<'_>, ways: &Ways<'_>) -> String {
    let texts = frame.texts;
    let row = failure.row();
    let said = (row.said)(&texts.errors);
    let provider = match failure {
        Failure::UnknownProvider(name) => name,
        _ => ways.provider.as_deref().unwrap_or(&texts.common.provider),
    };
    let origin = match failure {
        Failure::UnknownReturn(origin) => origin,
        _ => "",
    };
    let link = |link: &'_ Option<String>| link.clone().filter(|link| leads_to_a_page(link));
    let (again, another) = (link(&ways.again), link(&ways.another));
    let begins = |link: &str| match failure {
        _ if link == "/" => &texts.common.home,
        Failure::UnknownProvider(_) => &texts.common.another,
        _ => &texts.common.again,
    };
    let back = ways.back.as_ref().filter(|(link, _)| leads_to_a_page(link));
    rendered(&ErrorPage {
        frame,
        status: fill(&texts.common.error, &[("status", row.status.as_str())]),
        title: &said.title,
        message: fill(&said.message, &[("provider", provider), ("origin", origin)]),
        reason: match failure {
            Failure::Rejected(reason) => Some(reason),
            _ => None,
        },
        again: again.as_deref().map(|link| (link, begins(link).as_str())),
        another: another.as_deref(),
        back: back.map(|(link, place)| (link.as_str(), fill(&texts.common.back, &[("place", place)]))),
        reference: ways.reference,
    })
}

fn leads_to_a_page(link: &str) -> bool {
    let path = link.starts_with('/') && !link.starts_with("//") && !link.starts_with("/\\");
    path || link.starts_with("https://") || link.starts_with("http://")
}

#[derive(Template)]
#[template(path = "go_on.html")]
struct GoOn<'a> {
    frame: Frame<'a>,
    link: &'a str,
}

/// Asks the user whether to begin one more sign-in. `link` is an absolute path that does so.
pub(crate) fn go_on(frame: Frame<'_>, link: &str) -> String {
    rendered(&GoOn { frame, link })
}

/// Writing to a string does not fail, and neither does anything that these templates call.
fn rendered(page: &impl Template) -> String {
    page.render()
        .unwrap_or_else(|_| "<!doctype html><title>Auth gateway</title>".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{
        Branding, CSP, CSS, Choice, Failure, Frame, HOME_CSP, JS, Language, Offer, Ways, error, go_on, index,
        sign_in,
    };

    const HOSTILE: &str = "\"><script>alert(1)</script>'&";

    /// Checks that a page has nothing that [`CSP`] forbids.
    pub(super) fn assert_strict(page: &str) {
        for inline in [
            "<style",
            " style=",
            " onclick",
            " onload",
            " onerror",
            "javascript:",
            "<script>",
            "<base",
            "<iframe",
        ] {
            assert!(!page.contains(inline), "{inline} in {page}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(
            scripts,
            page.matches("<script type=\"module\" src=\"/assets/gateway.js\">")
                .count()
        );
        for link in page
            .split("src=\"")
            .skip(1)
            .chain(page.split("stylesheet\" href=\"").skip(1))
        {
            assert!(link.starts_with("/assets/"), "{link}");
        }
        assert_eq!(page.matches("<h1").count(), page.matches("</h1>").count());
        assert!(page.starts_with("<!doctype html>") && page.contains("<html lang=\""));
    }

    pub(super) fn in_each_language(test: impl Fn(Frame<'_>)) {
        let branding = Branding {
            name: HOSTILE.to_owned(),
            ..Branding::default()
        };
        for language in Language::all() {
            test(Frame::new(&branding, language));
        }
    }

    fn choice(offer: &Offer) -> Choice<'_> {
        Choice {
            offer,
            link: format!("/auth/login/{}?next=a&b", offer.name),
        }
    }

    #[test]
    fn b6_providers_are_offered_in_order_and_as_text() {
        in_each_language(|frame| {
            let offers = [
                Offer::new("zulu", Some(HOSTILE), None),
                Offer::new("google", None, None),
            ];
            let choices = offers.each_ref().map(choice);
            let names = [("zulu", HOSTILE)];
            for page in [
                index(frame, "https://auth.example", &choices, &names),
                sign_in(frame, Some(HOSTILE), &choices),
            ] {
                assert_strict(&page);
                assert!(!page.contains("<script>alert"));
                assert!(page.find("/auth/login/zulu").unwrap() < page.find("/auth/login/google").unwrap());
            }
        });
    }

    #[test]
    fn b5_an_error_page_shows_the_status_and_links_back_and_on() {
        in_each_language(|frame| {
            let ways = Ways {
                again: Some("/auth/login/github?next=a&b".into()),
                another: Some("/auth/login?next=a".into()),
                back: Some(("https://app.example/".into(), HOSTILE.into())),
                provider: Some(HOSTILE.into()),
                reference: Some("0123"),
            };
            for failure in [
                Failure::Denied,
                Failure::Rejected(HOSTILE),
                Failure::UnknownProvider(HOSTILE),
                Failure::UnknownReturn(HOSTILE),
            ] {
                let page = error(frame, &failure, &ways);
                assert_strict(&page);
                assert!(!page.contains("<script"), "{page}");
                assert!(page.contains(failure.row().status.as_str()) && page.contains("0123"));
                for link in [
                    "/auth/login/github?next=a&#38;b",
                    "/auth/login?next=a",
                    "https://app.example/",
                ] {
                    assert!(page.contains(&format!("href=\"{link}\"")), "{link}: {page}");
                }
                assert!(!page.contains('{'), "{page}");
            }
        });
    }

    #[test]
    fn a8_the_question_whether_to_go_on_is_a_page_with_one_link() {
        in_each_language(|frame| {
            let page = go_on(frame, "/auth/login/github?next=\"><script>");
            assert_strict(&page);
            assert!(!page.contains("<script"), "{page}");
            assert!(page.contains("href=\"/auth/login/github?next=&#34;"), "{page}");
        });
    }

    #[test]
    fn links_lead_to_a_page_and_nowhere_else() {
        let branding = Branding::default();
        let frame = Frame::new(&branding, Language::default());
        let page = |link: &str| {
            let ways = Ways {
                again: Some(link.into()),
                another: Some(link.into()),
                back: Some((link.into(), "x".into())),
                ..Ways::default()
            };
            error(frame, &Failure::Denied, &ways)
        };
        for link in [
            "/auth/login/github",
            "https://app.example/",
            "http://127.0.0.1:8080/",
        ] {
            assert_eq!(
                page(link).matches(&format!("href=\"{link}\"")).count(),
                3,
                "{link}"
            );
        }
        for link in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example",
            "/\\evil.example",
            "",
            " https://e",
        ] {
            let page = page(link);
            let ways = page.split("class=\"ways\"").nth(1).unwrap();
            assert!(!ways.contains("href="), "{link}: {ways}");
        }
    }

    #[test]
    fn every_text_of_the_script_is_there_and_is_used() {
        let page = index(
            Frame::new(&Branding::default(), Language::default()),
            "",
            &[],
            &[],
        );
        // Matches `t("key")`, but not the end of another function's name.
        let begins = JS.match_indices("t(\"").filter(|(at, _)| {
            let before = JS[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '.')
        });
        let mut asked: Vec<&str> = begins
            .filter_map(|(at, _)| JS[at + 3..].split('"').next())
            .collect();
        asked.sort_unstable();
        asked.dedup();
        assert!(asked.len() > 20, "{asked:?}");
        for key in &asked {
            assert!(page.contains(&format!("&#34;{key}&#34;:")), "{key}");
        }
        let texts = serde_json::to_value(&Language::default().texts().script).unwrap();
        let unused = texts
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !asked.contains(&key.as_str()));
        assert_eq!(unused.count(), 0, "{asked:?}");
    }

    #[test]
    fn assets_use_nothing_that_the_policy_forbids() {
        for policy in [CSP, HOME_CSP] {
            assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("  "));
        }
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            ".style.",
        ] {
            assert!(!JS.contains(forbidden), "{forbidden}");
        }
        assert!(!CSS.contains("url(") && !CSS.contains("@import"));
    }
}
