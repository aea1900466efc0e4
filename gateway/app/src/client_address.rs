//! The client's address: the connection's peer, or the address that a trusted proxy forwards for.

use std::net::{IpAddr, SocketAddr};

use gateway_model::address::reach;
use hyper::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the client's address, or `None` if it may be a proxy's, which many users share.
///
/// Each proxy appends its own peer to `X-Forwarded-For`. The header is therefore read from its end, as long as a trusted
/// proxy wrote the entry. Anyone could have written the entries before. No other header is read.
///
/// - If the peer is not a trusted proxy, it is the client, and the header is ignored. If no trusted proxy is configured, a
///   peer on this machine or a private network may be a proxy.
/// - If the peer is a trusted proxy, the client is the last entry that is not one, otherwise the first readable entry.
pub(crate) fn of_client(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if trusted_proxies.is_empty() {
        return Some(peer).filter(|peer| !reach(*peer).is_local());
    }
    let is_proxy = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    if !is_proxy(&peer) {
        return Some(peer);
    }
    let mut client = None;
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    // As bytes: the beginning, which anyone could have written, may not be text.
    let entries = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for address in entries.map_while(address) {
        client = Some(address);
        if !is_proxy(&address) {
            break;
        }
    }
    client
}

/// An address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderValue};
    use ipnet::IpNet;
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::of_client;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        of_client(peer.parse().unwrap(), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn without_trusted_proxies_the_client_is_the_peer_unless_it_may_be_a_proxy() {
        for peer in ["192.0.2.1", "2001:db8::1", "100.128.0.1", "172.32.0.1"] {
            assert_eq!(client(peer, &["198.51.100.1"], &[]).as_deref(), Some(peer));
        }
        let mapped = client("::ffff:192.0.2.1", &[], &[]);
        assert_eq!(mapped.as_deref(), Some("192.0.2.1"));
        for peer in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(client(peer, &["198.51.100.1"], &[]), None, "{peer}");
        }
    }

    #[test]
    fn the_header_of_an_untrusted_peer_is_ignored() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            client("192.0.2.1", &["198.51.100.1"], &trusted).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(
            client("127.0.0.1", &["198.51.100.1"], &trusted).as_deref(),
            Some("127.0.0.1")
        );
    }

    #[test]
    fn the_last_untrusted_entry_is_the_client() {
        let trusted = ["10.0.0.0/8", "::1/128"];
        for (forwarded, is) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            // The entries that the client claims come first.
            (&["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (&["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            (&["10.9.9.9,198.51.100.1"], "198.51.100.1"),
            // A chain of proxies.
            (&["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (&["203.0.113.9, 198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            // All of them proxies: a client inside.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["unknown, 10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(
                client("10.0.0.1", forwarded, &trusted).as_deref(),
                Some(is),
                "{forwarded:?}"
            );
            assert_eq!(
                client("::1", forwarded, &trusted).as_deref(),
                Some(is),
                "{forwarded:?}"
            );
        }
        for forwarded in [
            &[][..],
            &[""],
            &["unknown"],
            &["198.51.100.1,"],
            &["198.51.100.1 203.0.113.9"],
        ] {
            assert_eq!(client("10.0.0.1", forwarded, &trusted), None, "{forwarded:?}");
        }
    }

    proptest! {
        /// The proxy appends the client's address to any header that the client sends, and only that address counts.
        #[test]
        fn forged_entries_do_not_change_the_client(
            claim in proptest::collection::vec(prop_oneof![32u8..127, 128u8..=255], 0..60),
            last in any::<[u8; 4]>().prop_filter("a client", |address| address[0] != 10),
            in_one in any::<bool>(),
        ) {
            let address = std::net::Ipv4Addr::from(last).to_string();
            let mut headers = HeaderMap::new();
            if in_one {
                let value = [&claim[..], b", ", address.as_bytes()].concat();
                headers.append("x-forwarded-for", HeaderValue::from_bytes(&value).unwrap());
            } else {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(&claim).unwrap());
                headers.append("x-forwarded-for", HeaderValue::from_str(&address).unwrap());
            }
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let client = of_client([10, 0, 0, 1].into(), &headers, &trusted);
            assert_eq!(client.map(|client| client.to_string()), Some(address));
        }
    }
}
