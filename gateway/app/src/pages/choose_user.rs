//! The page of the development sign-in, where one chooses a test user.

use askama::Template;

use super::{Frame, rendered};

/// `Content-Security-Policy` of this page. Browsers check the redirects that follow a form against `form-action`, and
/// these can end at any application.
pub(crate) const CHOOSE_USER_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
                                   form-action http: https:; base-uri 'none'; frame-ancestors 'none'";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person<'a> {
    /// The value of `user=`.
    pub(crate) user: &'a str,
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
}

#[derive(Template)]
#[template(path = "choose_user.html")]
struct ChooseUser<'a> {
    frame: Frame<'a>,
    next: &'a str,
    tells_next: bool,
    people: Vec<Candidate<'a>>,
}

struct Candidate<'a> {
    link: String,
    initial: String,
    name: &'a str,
    email: &'a str,
}

/// Links that sign in as each of `people`, and a form for any other name. All lead to `next`, a URL that has been
/// checked.
pub(crate) fn choose_user<'a>(
    frame: Frame<'a>,
    next: &'a str,
    tells_next: bool,
    people: &[Person<'a>],
) -> String {
    let candidate = |person: &Person<'a>| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("next", next).append_pair("user", person.user);
        if tells_next {
            query.append_pair("errors", "next");
        }
        let initial = person.name.chars().take(1).flat_map(char::to_uppercase).collect();
        Candidate {
            link: format!("/auth/login/dev?{}", query.finish()),
            initial,
            name: person.name,
            email: person.email,
        }
    };
    rendered(&ChooseUser {
        frame,
        next,
        tells_next,
        people: people.iter().map(candidate).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Person, choose_user};
    use crate::pages::tests::{assert_strict, in_each_language};

    #[test]
    fn each_person_is_one_link_away_from_next() {
        let people = [
            Person {
                user: "alice",
                name: "Alice",
                email: "alice@example.org",
            },
            Person {
                user: "a&b",
                name: "\"><script>",
                email: "<b>",
            },
        ];
        in_each_language(|frame| {
            let page = choose_user(frame, "https://app.example/x?a=1&b=2#f", false, &people);
            assert_strict(&page);
            let link =
                "/auth/login/dev?next=https%3A%2F%2Fapp.example%2Fx%3Fa%3D1%26b%3D2%23f&#38;user=alice";
            assert!(page.contains(&format!("{link}\"")), "{page}");
            assert!(page.contains("user=a%26b"));
            assert!(!page.contains("<script") && !page.contains("<b>"));
            assert!(!page.contains("errors"));
        });
    }

    #[test]
    fn the_form_passes_next_and_errors_on() {
        in_each_language(|frame| {
            let page = choose_user(frame, "https://app.example/\"x", true, &[]);
            assert!(
                page.contains("<input type=\"hidden\" name=\"next\" value=\"https://app.example/&#34;x\">"),
                "{page}"
            );
            assert!(page.contains("<input type=\"hidden\" name=\"errors\" value=\"next\">"));
            assert!(page.contains("method=\"get\" action=\"/auth/login/dev\""));
        });
    }
}
