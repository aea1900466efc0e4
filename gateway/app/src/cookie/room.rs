//! Room for one more sign-in among those that a browser has begun: which cookies have to go.

use super::MAX_TOGETHER;

/// The cookie of a sign-in that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in a request.
    pub size: usize,
    /// What it is worth, the least first.
    pub worth: Worth,
}

/// What a cookie is worth to the person; in this order cookies make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// Nothing: it cannot be read, or its sign-in has expired or ended.
    Nothing,
    /// A page may have begun the sign-in without the person. With the second it began in.
    ByAPage(u64),
    /// The person began it. With the second it began in.
    ByThePerson(u64),
}

/// What has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room<'a> {
    /// The names of the cookies to clear.
    pub clear: Vec<&'a str>,
    /// Whether one of them is worth something.
    pub costs_a_sign_in: bool,
}

/// Makes room for a cookie of this size: the least worth goes first, then the oldest, and what the browser sent first.
#[must_use]
pub fn make<'a>(mut begun: Vec<Begun<'a>>, size: usize) -> Room<'a> {
    let mut together: usize = begun.iter().map(|cookie| cookie.size).sum();
    begun.sort_by_key(|cookie| cookie.worth);
    let mut room = Room::default();
    for cookie in begun {
        if together.saturating_add(size) <= MAX_TOGETHER {
            break;
        }
        together -= cookie.size;
        room.costs_a_sign_in |= cookie.worth > Worth::Nothing;
        // Two of one name go together, in one header.
        if !room.clear.contains(&cookie.name) {
            room.clear.push(cookie.name);
        }
    }
    room
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::Worth::{ByAPage, ByThePerson, Nothing};
    use super::{Begun, MAX_TOGETHER, Room, make};

    fn begun<'a>(cookies: &[(&'a str, usize, super::Worth)]) -> Vec<Begun<'a>> {
        let cookies = cookies.iter();
        cookies
            .map(|&(name, size, worth)| Begun { name, size, worth })
            .collect()
    }

    #[test]
    fn b2_nothing_goes_while_there_is_room() {
        let some = begun(&[("a", 1000, Nothing), ("b", 1000, ByAPage(1))]);
        assert_eq!(make(some, 1000), Room::default());
        assert_eq!(make(Vec::new(), MAX_TOGETHER), Room::default());
    }

    #[test]
    fn b2_the_oldest_goes_first_whatever_order_the_browser_sends_them_in() {
        let some = begun(&[
            ("new", 900, ByThePerson(30)),
            ("old", 900, ByThePerson(10)),
            ("middle", 900, ByThePerson(20)),
        ]);
        let room = make(some, 1200);
        assert_eq!(room.clear, ["old"]);
        assert!(room.costs_a_sign_in);
    }

    #[test]
    fn a8_what_a_page_began_goes_before_what_the_person_began() {
        let some = begun(&[
            ("person", 900, ByThePerson(10)),
            ("page", 900, ByAPage(20)),
            ("garbage", 900, Nothing),
        ]);
        let room = make(some.clone(), 1200);
        assert_eq!((room.clear, room.costs_a_sign_in), (vec!["garbage"], false));
        let room = make(some, 2100);
        assert_eq!(
            (room.clear, room.costs_a_sign_in),
            (vec!["garbage", "page"], true)
        );
    }

    proptest! {
        /// Whatever a browser brings, afterwards all is within the bound.
        #[test]
        fn b2_there_is_always_room(
            cookies in proptest::collection::vec((1usize..4000, prop_oneof![
                proptest::strategy::Just(Nothing),
                any::<u64>().prop_map(ByAPage),
                any::<u64>().prop_map(ByThePerson),
            ]), 0..40),
            size in 1usize..MAX_TOGETHER,
        ) {
            let names: Vec<String> = (0..cookies.len()).map(|number| number.to_string()).collect();
            let all: Vec<_> = names.iter().zip(&cookies)
                .map(|(name, &(size, worth))| Begun { name, size, worth }).collect();
            let room = make(all.clone(), size);
            let kept = all.iter().filter(|cookie| !room.clear.contains(&cookie.name));
            let kept: Vec<_> = kept.collect();
            assert!(kept.iter().map(|cookie| cookie.size).sum::<usize>() + size <= MAX_TOGETHER);
            let most = all.iter().filter(|cookie| room.clear.contains(&cookie.name)).map(|cookie| cookie.worth).max();
            assert!(kept.iter().all(|kept| Some(kept.worth) >= most));
        }
    }
}
