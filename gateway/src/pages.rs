//! The few pages that people see: the gateway's own, "choose who to be" of the development sign-in, and
//! what is said when something went wrong. Text in, HTML out: what is put in is escaped here.
//!
//! The templates, the style sheet and the script stand in `templates/`. Nothing in a page is inline, so
//! that the policy can forbid it; nothing comes from another host but people's pictures.

use askama::Template;

#[cfg(feature = "dev")]
mod choose_user;

#[cfg(feature = "dev")]
pub use choose_user::{CHOOSE_USER_CSP, Person, choose_user};

/// `Content-Security-Policy` (level 3) of every page.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src https: data:; \
                       connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `/assets/gateway.css`, to be sent as `text/css; charset=utf-8`.
pub const CSS: &str = include_str!("../templates/gateway.css");

/// `/assets/gateway.js`, a module, to be sent as `text/javascript; charset=utf-8`.
pub const JS: &str = include_str!("../templates/gateway.js");

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    services: &'a [String],
}

/// The page at `/`: sign in, profile, permissions of each of `services` (in that order), sign out. It
/// is the same for everybody: who is signed in is found out by its script.
#[must_use]
pub fn index(services: &[String]) -> String {
    rendered(&Index { services })
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    status: u16,
    title: &'a str,
    message: &'a str,
    retry: Option<&'a str>,
}

/// What a person is told when something went wrong: the HTTP status, a title, a sentence or two in
/// plain words, and where "Sign in again" leads: an absolute path or an http or https URL, anything else
/// is left out. No script.
#[must_use]
pub fn error(status: u16, title: &str, message: &str, retry: Option<&str>) -> String {
    let retry = retry.filter(|link| {
        let path = link.starts_with('/') && !link.starts_with("//") && !link.starts_with("/\\");
        path || link.starts_with("https://") || link.starts_with("http://")
    });
    rendered(&ErrorPage {
        status,
        title,
        message,
        retry,
    })
}

#[derive(Template)]
#[template(path = "go_on.html")]
struct GoOn<'a> {
    link: &'a str,
}

/// Asks a person whether to begin one more sign-in, which `link`, an absolute path, does. No script.
#[must_use]
pub fn go_on(link: &str) -> String {
    rendered(&GoOn { link })
}

/// Writing to a string does not fail, and these templates call nothing that could.
fn rendered(page: &impl Template) -> String {
    page.render()
        .unwrap_or_else(|_| "<!doctype html><title>Auth gateway</title>".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{CSP, CSS, JS, error, go_on, index};

    const HOSTILE: &str = "\"><script>alert(1)</script>'&";

    /// Every attribute and element that a page may not have under [`CSP`].
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
        assert!(page.starts_with("<!doctype html>") && page.contains("<html lang=\"en\">"));
    }

    #[test]
    fn services_are_offered_in_order_and_as_text() {
        let page = index(&["billing".into(), HOSTILE.into()]);
        assert_strict(&page);
        let billing = page.find("<option value=\"billing\">billing</option>").unwrap();
        let hostile = page
            .find("&#60;script&#62;")
            .or_else(|| page.find("&lt;script&gt;"))
            .unwrap();
        assert!(billing < hostile);
        assert!(!page.contains("<script>alert"));
    }

    #[test]
    fn without_services_there_is_nothing_to_choose() {
        let page = index(&[]);
        assert_strict(&page);
        assert!(page.contains("No service is configured") && !page.contains("<select"));
    }

    #[test]
    fn an_error_says_what_it_is_told_as_text() {
        let page = error(403, "Not let in", HOSTILE, Some("/auth/login/github?next=a&b"));
        assert_strict(&page);
        assert!(page.contains("Error 403") && page.contains("Not let in"));
        assert!(!page.contains("<script"));
        assert!(page.contains("Sign in again"));
        assert!(!error(502, "t", "m", None).contains("Sign in again"));
    }

    #[test]
    fn a8_the_question_whether_to_go_on_is_a_page_with_one_link() {
        let page = go_on("/auth/login/github?next=\"><script>");
        assert_strict(&page);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("href=\"/auth/login/github?next=&#34;"), "{page}");
    }

    #[test]
    fn sign_in_again_leads_to_a_page_and_nowhere_else() {
        for link in [
            "/auth/login/github",
            "https://app.example/",
            "http://127.0.0.1:8080/",
        ] {
            assert!(
                error(400, "t", "m", Some(link)).contains("Sign in again"),
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
            assert!(
                !error(400, "t", "m", Some(link)).contains("Sign in again"),
                "{link}"
            );
        }
    }

    #[test]
    fn the_assets_need_nothing_that_the_policy_forbids() {
        assert!(!CSP.contains("unsafe") && !CSP.contains('*') && !CSP.contains("  "));
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
