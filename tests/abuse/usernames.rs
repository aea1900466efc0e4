//! Usernames that look like others, and concurrent requests for one name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use support::browser::encode;
use support::{Gateway, Setup};

/// A username that is another user's id would name that user in commands and applications that accept either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_usernames_that_look_like_ids_are_rejected() {
    let gateway = Setup::dev().start().await;
    let (alice, mallory) = (gateway.sign_in("alice").await, gateway.sign_in("mallory").await);
    let browser = gateway.browser();
    let id = browser.check(&alice).await["profile"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [
        id.clone(),
        id.to_uppercase(),
        "0".repeat(32),
        "dev:alice".into(),
        format!("id:{id}"),
    ] {
        let answer = browser
            .post_as(&mallory, &format!("/auth/update?username={}", encode(&name)))
            .await;
        assert_eq!(answer["success"], false, "{name}: {answer}");
    }
    gateway.stop().await;
}

/// Characters that look like one of ASCII, or fold to it (Unicode's confusables, TR 39, and case folding).
const LOOK_ALIKES: &[(char, &str)] = &[
    ('a', "аɑαａ𝐚𝒶𝔞𝖆𝗮áàâäãåāăąǎạⓐᵃªᴀА\u{0391}"),
    ('b', "ЬƅЬｂ𝐛ɓᵇⓑВΒ"),
    ('c', "сϲⅽｃ𝐜çćčⓒᴄСϹ"),
    ('d', "ԁⅾｄ𝐝ďđⓓᵈ"),
    ('e', "еҽｅ𝐞éèêëēėęěẹⓔᵉℯЕΕ"),
    ('g', "ɡｇ𝐠ğģⓖᵍɢԍ"),
    ('h', "һｈ𝐡ĥħⓗʰНΗ"),
    ('i', "іｉ𝐢íìîïīįıⓘⁱⅰІΙİ"),
    ('k', "ｋ𝐤ķⓚᵏкΚ\u{212a}"),
    ('l', "ⅼｌ𝐥ĺľłⓛˡӏ"),
    ('m', "ｍ𝐦ⅿⓜᵐМΜ"),
    ('n', "ｎ𝐧ñńňⓝⁿոΝ"),
    ('o', "оοｏ𝐨óòôöõøōőⓞºᴏօОΟ০"),
    ('p', "рρｐ𝐩ⓟᵖРΡ"),
    ('r', "ｒ𝐫ŕřⓡʳгᴦ"),
    ('s', "ѕｓ𝐬śšşⓢˢſꜱЅ"),
    ('t', "ｔ𝐭ťţⓣᵗтΤ"),
    ('u', "υսｕ𝐮úùûüūůűⓤᵘ"),
    ('w', "ԝｗ𝐰ŵⓦʷѡ"),
    ('x', "хⅹｘ𝐱ⓧˣХΧ"),
    ('y', "уｙ𝐲ýÿⓨʸγΥ"),
    ('-', "‐‑‒–—−﹣－\u{00ad}"),
    ('_', "＿‿﹍"),
];

/// Characters that are invisible, or reorder the text after them.
const UNSEEN: &[char] = &[
    '\u{200b}',
    '\u{200c}',
    '\u{200d}',
    '\u{200e}',
    '\u{200f}',
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2060}',
    '\u{2061}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{feff}',
    '\u{00ad}',
    '\u{034f}',
    '\u{061c}',
    '\u{115f}',
    '\u{1160}',
    '\u{17b4}',
    '\u{180e}',
    '\u{3164}',
    '\u{ffa0}',
    '\u{fe0f}',
    '\u{0301}',
    '\u{0338}',
    '\u{20dd}',
    '\u{e0041}',
    '\u{00a0}',
    '\u{2003}',
    '\u{3000}',
    '\0',
    '\u{1}',
    '\u{1b}',
    '\u{7f}',
    '\u{85}',
    '\t',
    '\n',
    '\r',
    ' ',
    '.',
    '@',
    '/',
    '\\',
    '\'',
    '"',
    '<',
    '%',
    '+',
    ':',
];

/// Reserved by the contract, so that nobody can pose as the gateway.
const RESERVED: &[&str] = &["admin", "root", "support", "webmaster", "no-reply", "well-known"];
/// Another user's name.
const TAKEN: &str = "Wendy-of_Oxbridge";

/// Of the look-alikes, one in this many is tried.
const EACH: usize = if cfg!(feature = "test-all") { 1 } else { 13 };

/// Every text that a reader could mistake for one of the names.
fn look_alikes(name: &str) -> BTreeSet<String> {
    let chars: Vec<char> = name.chars().collect();
    let with = |at: usize, instead: &[char]| -> String {
        chars[..at]
            .iter()
            .chain(instead)
            .chain(&chars[at + 1..])
            .collect()
    };
    let mut all = BTreeSet::new();
    for (at, char) in chars.iter().enumerate() {
        for (plain, others) in LOOK_ALIKES {
            if plain.eq_ignore_ascii_case(char) {
                all.extend(others.chars().map(|other| with(at, &[other])));
            }
        }
        for unseen in UNSEEN {
            all.insert(with(at, &[*unseen, *char]));
            all.insert(with(at, &[*char, *unseen]));
        }
    }
    all
}

/// The name in other cases: each letter alone, all letters, every other letter.
fn cases(name: &str) -> BTreeSet<String> {
    let recased = |is_upper: &dyn Fn(usize) -> bool| -> String {
        let chars = name.chars().enumerate();
        chars
            .map(|(at, char)| {
                if is_upper(at) {
                    char.to_ascii_uppercase()
                } else {
                    char.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let mut all: BTreeSet<_> = (0..name.len()).map(|at| recased(&|other| other == at)).collect();
    all.extend([
        recased(&|_| true),
        recased(&|_| false),
        recased(&|at| at % 2 == 0),
    ]);
    all
}

async fn set(gateway: &Gateway, session: &str, name: &str) -> Value {
    gateway
        .browser()
        .post_as(session, &format!("/auth/update?username={}", encode(name)))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_look_like_another_users_are_rejected() {
    let gateway = Setup::dev().start().await;
    let browser = gateway.browser();
    let owner = gateway.sign_in("alice").await;
    assert_eq!(set(&gateway, &owner, TAKEN).await, json!({"success": true}));
    let mallory = gateway.sign_in("bob").await;
    let mut tried = 0;
    for name in RESERVED.iter().chain([&TAKEN]) {
        let look_alikes = look_alikes(name).into_iter().step_by(EACH);
        for text in look_alikes.chain(cases(name)) {
            let answer = set(&gateway, &mallory, &text).await;
            assert_eq!(answer["success"], false, "{text:?} for {name}: {answer}");
            tried += 1;
        }
    }
    let profile = &browser.check(&mallory).await["profile"];
    assert_eq!(profile.get("username"), None, "{profile}");
    println!(
        "usernames: {tried} that look like one of {} names, 0 taken",
        RESERVED.len() + 1
    );
    assert_eq!(set(&gateway, &mallory, "Bob_1").await, json!({"success": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_concurrent_names_of_one_user_is_set() {
    let gateway = Setup::dev().start().await;
    let alice = gateway.sign_in("alice").await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (browser, alice) = (gateway.browser(), alice.clone());
        asking.spawn(async move {
            let name = format!("name-{n}");
            let answer = browser
                .post_as(&alice, &format!("/auth/update?username={name}"))
                .await;
            (answer["success"] == true).then_some(name)
        });
    }
    let set: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    assert_eq!(set.len(), 1, "{set:?}");
    let profile = &gateway.browser().check(&alice).await["profile"];
    assert_eq!(profile["username"], *set[0]);
    gateway.stop().await;
}
