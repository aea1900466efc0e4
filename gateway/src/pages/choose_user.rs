//! "Choose who to be": the page of the development sign-in.

use askama::Template;

use super::rendered;

/// `Content-Security-Policy` of this page. Browsers hold the redirects that follow a form against
/// `form-action`, and these end at whatever application sent the person.
pub const CHOOSE_USER_CSP: &str = "default-src 'none'; style-src 'self'; img-src data:; \
                                   form-action http: https:; base-uri 'none'; frame-ancestors 'none'";

/// Somebody invented to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    /// What goes into `user=`.
    pub user: &'a str,
    /// The display name.
    pub name: &'a str,
    /// The address, or a word on what is special about them.
    pub email: &'a str,
}

#[derive(Template)]
#[template(path = "choose_user.html")]
struct ChooseUser<'a> {
    next: &'a str,
    people: Vec<Choice<'a>>,
}

struct Choice<'a> {
    link: String,
    initial: String,
    name: &'a str,
    email: &'a str,
}

/// Links that sign in at once as each of `people`, and a form for any other name; all of them go on to
/// `next`, an absolute URL that has been checked.
#[must_use]
pub fn choose_user<'a>(next: &'a str, people: &[Person<'a>]) -> String {
    let choice = |person: &Person<'a>| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("next", next)
            .append_pair("user", person.user)
            .finish();
        let initial = person.name.chars().take(1).flat_map(char::to_uppercase).collect();
        Choice {
            link: format!("/auth/login/dev?{query}"),
            initial,
            name: person.name,
            email: person.email,
        }
    };
    let people = people.iter().map(choice).collect();
    rendered(&ChooseUser { next, people })
}

#[cfg(test)]
mod tests {
    use super::{Person, choose_user};
    use crate::pages::tests::assert_strict;

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
        let page = choose_user("https://app.example/x?a=1&b=2#f", &people);
        assert_strict(&page);
        let link = "/auth/login/dev?next=https%3A%2F%2Fapp.example%2Fx%3Fa%3D1%26b%3D2%23f&#38;user=alice";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("user=a%26b"));
        assert!(!page.contains("<script") && !page.contains("<b>"));
    }

    #[test]
    fn any_other_name_goes_the_same_way() {
        let page = choose_user("https://app.example/\"x", &[]);
        assert!(
            page.contains("<input type=\"hidden\" name=\"next\" value=\"https://app.example/&#34;x\">"),
            "{page}"
        );
        assert!(page.contains("method=\"get\" action=\"/auth/login/dev\""));
    }
}
