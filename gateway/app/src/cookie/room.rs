//! Chooses the sign-in cookies to delete so that one more fits.

use super::MAX_TOGETHER;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun<'a> {
    pub(crate) name: &'a str,
    /// In bytes, in a request.
    pub(crate) size: usize,
    pub(crate) worth: Worth,
}

/// A cookie's worth to the user. The least valuable are deleted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    /// Unreadable, or its sign-in has expired or ended.
    Nothing,
    /// A page may have begun the sign-in without the user. With the second in which it began.
    ByAPage(u64),
    /// The user began it. With the second in which it began.
    ByThePerson(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room<'a> {
    /// The names of the cookies to delete.
    pub(crate) clear: Vec<&'a str>,
    /// Whether one of them still had a value.
    pub(crate) costs_a_sign_in: bool,
}

/// Makes room for a cookie of this size. The least valuable go first, then the oldest, then those that the browser sent
/// first.
pub(crate) fn make<'a>(mut begun: Vec<Begun<'a>>, size: usize) -> Room<'a> {
    let mut together: usize = begun.iter().map(|cookie| cookie.size).sum();
    begun.sort_by_key(|cookie| cookie.worth);
    let mut room = Room::default();
    for cookie in begun {
        if together.saturating_add(size) <= MAX_TOGETHER {
            break;
        }
        together -= cookie.size;
        room.costs_a_sign_in |= cookie.worth > Worth::Nothing;
        // Two cookies with the same name are deleted by one header.
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
    fn b2_no_cookie_is_deleted_while_there_is_room() {
        let some = begun(&[("a", 1000, Nothing), ("b", 1000, ByAPage(1))]);
        assert_eq!(make(some, 1000), Room::default());
        assert_eq!(make(Vec::new(), MAX_TOGETHER), Room::default());
    }

    #[test]
    fn b2_the_oldest_sign_in_is_deleted_first_in_any_order() {
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
    fn a8_sign_ins_that_pages_began_are_deleted_before_the_users() {
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
        /// The total is within the bound afterwards, regardless of the cookies that the browser sends.
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
