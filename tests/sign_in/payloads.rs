//! Attackers' values of `next`: a corpus and mutations of it.

use std::collections::BTreeSet;

/// Attacks on `next` that a browser would take for a URL elsewhere, or that could break the answer.
pub(crate) fn attacks() -> Vec<String> {
    let mut attacks: Vec<String> = [
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "//evil.example/%2f..",
        "http:evil.example",
        "http:/evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:\\evil.example",
        "https:///evil.example",
        "https://evil.example",
        "HTTPS://EVIL.EXAMPLE/",
        "https://app.example.org@evil.example/",
        "https://app.example.org:pw@evil.example/",
        "https://app.example.org%40evil.example/",
        "https://app.example.org\\@evil.example/",
        "https://evil.example\\@app.example.org/",
        "https://evil.example#@app.example.org/",
        "https://evil.example?@app.example.org/",
        "https://app.example.org.evil.example/",
        "https://app.example.orgevil.example/",
        "https://evilapp.example.org/",
        "https://evil.app.example.org/",
        "https://app.example.org:80@evil.example/",
        "https://app.example.org:443@evil.example",
        "https://app.example.org:444/",
        "https://app.example.org:80/",
        "http://app.example.org/",
        "ftp://app.example.org/",
        "https://app.example.org./",
        "https://app.example.org%00.evil.example/",
        "https://app.example.org%25@evil.example",
        "https://app.example.org\0.evil.example/",
        "https://app.example.org\r\nLocation: https://evil.example/",
        "https://app.example.org%0d%0aset-cookie:a=b@evil.example/",
        "https://user@app.example.org/",
        "https://user:pass@app.example.org/",
        "https://аpp.example.org/",
        "https://app。example。org@evil.example",
        "https://app.example.org%E3%80%82evil.example/",
        "https://ⓔⓥⓘⓛ.example/",
        "https://xn--pp-6kc.example.org/",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "\u{1}javascript:alert(1)",
        "javascript://app.example.org/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:msgbox(1)",
        "blob:https://app.example.org/1",
        "filesystem:https://app.example.org/x",
        "about:blank",
        "file:///etc/passwd",
        "view-source:https://app.example.org",
        "intent://evil.example#Intent;scheme=https;end",
        "mailto:a@app.example.org",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1%25eth0]/",
        "http://127.0.0.1:1/",
        "http://0/",
        "https://[app.example.org]/",
        "",
        ".",
        "..",
        "/",
        "?",
        "#",
        "app.example.org",
        "@",
        ":",
        "://",
        "https://",
        "http://",
        "https://?",
        "https://#",
        "%68ttps://evil.example",
        "https%3A%2F%2Fevil.example",
        "%2f%2fevil.example",
        "%5c%5cevil.example",
        "/%09/evil.example",
        "https://app.example.org/\u{0}",
        "https://app.example.org/\r\nx: y",
        "https://app.example.org/?a=\r\nx: y#\n",
        "https://app.example.org/?jwt=old&jwt=older",
        "https://app.example.org/?a&jwt#f?jwt=x",
        "https://app.example.org/?&&&=",
        "https://app.example.org/?%6awt=old",
        "https://app.example.org#jwt=x",
        "https://app.example.org?jwt",
        "https://app.example.org/?a=%ff%fe",
        "https://app.example.org/\u{202e}gro",
        "https://app.example.org/../../..//evil.example",
        "https://app.example.org//evil.example",
        "https://app.example.org/\\evil.example",
        "https://app.example.org/;@evil.example",
    ]
    .map(str::to_owned)
    .into();
    // Every way to put an ambiguous character between an allowed origin and a foreign one.
    for doubt in [
        "@",
        "\\",
        "\\@",
        "/@",
        ":@",
        "%40",
        "%2f@",
        "#@",
        "?@",
        ";@",
        ",",
        "\t@",
        "\n@",
        "\u{a0}@",
        "\u{feff}@",
        ".",
    ] {
        attacks.push(format!("https://app.example.org{doubt}evil.example/"));
        attacks.push(format!("https://evil.example{doubt}app.example.org/"));
    }
    attacks.push(format!("https://app.example.org/{}", "a".repeat(6000)));
    attacks.push(format!("https://{}@evil.example/", "app.example.org".repeat(200)));
    attacks
}

/// Allowed destinations, with every part that an address can have.
const WELCOME: [&str; 8] = [
    "https://app.example.org/",
    "https://app.example.org",
    "https://app.example.org:443/a/b.html?x=1&jwt=old#part",
    "https://app.example.org/?a=%41+b&&c#?jwt=x",
    "HTTPS://APP.EXAMPLE.ORG/ä?ö=ü#ß",
    "https://app.example.org/a;b@c:d/../e?next=https://evil.example/",
    "https://app.example.org/?%6Awt=1&j%77t=2&jwt#/route?jwt=3",
    "https://app.example.org/x?q=%0d%0a%00'\"<>`{}|^",
];

/// Texts that parsers treat differently: they remove, reverse or fold them, or end a part there.
const DOUBT: [&str; 44] = [
    "/", "//", "\\", "@", ":", "?", "#", ".", "..", "%", "&", "=", ";", ",", "[", "]", "|", "^", "`", "~",
    "+", "*", "\t", "\n", "\r", "\0", " ", "\u{7f}", "\u{85}", "\u{a0}", "\u{ad}", "\u{200b}", "\u{2025}",
    "\u{2028}", "\u{202e}", "\u{2044}", "\u{2100}", "\u{3002}", "\u{feff}", "\u{ff0e}", "\u{ff0f}",
    "\u{ff20}", "\u{ff3c}", "ß",
];

/// Longer texts to insert.
const BITS: [&str; 16] = [
    "evil.example",
    "@evil.example",
    ".evil.example",
    "//evil.example/",
    "https://",
    "http:",
    "javascript:",
    ":80@",
    "%40",
    "%2f",
    "%5c",
    "%00",
    "%2e%2e",
    "jwt=",
    "&jwt=x",
    "app.example.org",
];

/// Pseudo-random numbers that are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits") % limit
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// Applies one small change.
    fn change(&mut self, text: &str, seeds: &[String]) -> String {
        let mut letters: Vec<String> = text.chars().map(String::from).collect();
        let at = self.below(letters.len() + 1);
        let there = at.min(letters.len().saturating_sub(1));
        match self.below(9) {
            0 => letters.insert(at, self.of(&DOUBT).to_owned()),
            1 => letters.insert(at, self.of(&BITS).to_owned()),
            _ if letters.is_empty() => letters.push(self.of(&BITS).to_owned()),
            2 => letters[there] = self.of(&DOUBT).to_owned(),
            3 => drop(letters.remove(there)),
            4 => letters.insert(there, letters[there].clone()),
            5 => {
                letters[there] = letters[there]
                    .bytes()
                    .map(|byte| format!("%{byte:02x}"))
                    .collect()
            }
            6 => letters[there] = letters[there].to_uppercase(),
            7 => letters.swap(there, self.below(at + 1).min(there)),
            _ => {
                // The beginning of one text and the end of another.
                letters.truncate(at);
                let other: Vec<char> = seeds[self.below(seeds.len())].chars().collect();
                letters.extend(other[self.below(other.len() + 1)..].iter().map(|c| c.to_string()));
            }
        }
        letters.concat()
    }
}

/// The corpus and `count` mutations of it, each of one to four changes.
pub(crate) fn mutated(count: usize) -> BTreeSet<String> {
    let mut seeds = attacks();
    // Most mutations start from an allowed destination; otherwise few of them would be accepted.
    for welcome in WELCOME {
        seeds.extend(std::iter::repeat_n(welcome.to_owned(), 48));
    }
    let mut dice = Dice(1);
    let mut payloads: BTreeSet<String> = seeds.iter().cloned().collect();
    let wanted = payloads.len() + count;
    while payloads.len() < wanted {
        let mut payload = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            payload = dice.change(&payload, &seeds);
        }
        payloads.insert(payload);
    }
    payloads
}
