//! Checks where a `Location` leads without the gateway's own parser: by comparing text and, with `test-all`, with Node,
//! whose parser follows the URL standard too but shares no code with ours.

/// The redirect of an accepted sign-in.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Visit {
    pub(crate) next: String,
    pub(crate) location: String,
    pub(crate) token: String,
}

/// The visits that lead outside of `origins`, or differ from `next` with the token at the end.
pub(crate) fn escapes(visits: &[Visit], origins: &[&str]) -> Vec<String> {
    let mut escapes: Vec<String> = visits
        .iter()
        .filter(|visit| !stays(visit, origins))
        .map(|visit| format!("{visit:?}"))
        .collect();
    #[cfg(feature = "test-all")]
    escapes.extend(node_says(visits, origins));
    escapes.sort();
    escapes
}

/// By text alone: after `https://host/`, nothing can change the destination.
fn stays(visit: &Visit, origins: &[&str]) -> bool {
    let location = visit.location.as_str();
    let rest = origins
        .iter()
        .find_map(|origin| location.strip_prefix(origin)?.strip_prefix('/'));
    let Some(rest) = rest else { return false };
    let until_fragment = rest.split('#').next().unwrap_or_default();
    let (path, query) = until_fragment.split_once('?').unwrap_or((until_fragment, ""));
    let names = || url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "jwt");
    location.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.contains('\\')
        && query.split('&').next_back() == Some(&format!("jwt={}", visit.token))
        && names().count() == 1
}

/// Node's objections, one per line.
#[cfg(feature = "test-all")]
fn node_says(visits: &[Visit], origins: &[&str]) -> Vec<String> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let script = r#"
        const [visits, origins] = JSON.parse(require("fs").readFileSync(0));
        const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
        // Node 20 leaves dot segments after a segment that begins with a dot: /a/.b/../c stays unchanged.
        const path = ({pathname}) => pathname.split("/").reduce((before, part, at, {length}) => {
            const dots = [".", ".."].indexOf(part), up = dots === 1 && before.length > 1;
            const kept = up ? before.slice(0, -1) : before;
            return dots < 0 ? [...kept, part] : at === length - 1 ? [...kept, ""] : kept;
        }, []).join("/");
        for (const visit of visits) {
            let good = false;
            try {
                const from = new URL(visit.next), to = new URL(visit.location);
                const others = [...from.searchParams].filter(([name]) => name !== "jwt");
                good = origins.includes(to.origin) && /^https?:$/.test(to.protocol) && to.href === visit.location
                    && to.username + to.password === "" && path(to) === path(from) && to.hash === from.hash
                    && same([...to.searchParams], [...others, ["jwt", visit.token]]);
            } catch {}
            if (!good) console.log("node: " + JSON.stringify(visit));
        }
        console.log("read " + visits.length);
    "#;
    let mut node = Command::new("node")
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let asked = serde_json::to_vec(&(visits, origins)).expect("JSON");
    let mut stdin = node.stdin.take().expect("stdin");
    stdin.write_all(&asked).expect("node reads");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    let mut lines: Vec<String> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(str::to_owned)
        .collect();
    let last = lines.pop();
    assert_eq!(last, Some(format!("read {}", visits.len())));
    lines
}
