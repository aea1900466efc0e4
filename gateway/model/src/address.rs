//! Classifies IP addresses as public, private or unusable. A name may resolve to anything, so its addresses decide, not
//! the name.
//!
//! The ranges are those of the IANA special-purpose address registries (RFC 6890) that are not globally reachable. An
//! IPv6 address that embeds an IPv4 address is classified as that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use self::Reach::{Private, Prohibited, Public};

/// Whether an address can be reached, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Globally reachable.
    Public,
    /// On this machine or its own network. The text says which, for the log.
    Private(&'static str),
    /// No name should resolve to it.
    Prohibited(&'static str),
}

impl Reach {
    /// Whether the address is on this machine or its own network, including link-local addresses.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::Private(_) | Self::Prohibited("link-local"))
    }
}

/// IPv4 ranges: network, length of its prefix, class. The first match counts.
const V4: &[([u8; 4], u32, Reach)] = &[
    ([0, 0, 0, 0], 8, Prohibited("unspecified")),
    ([10, 0, 0, 0], 8, Private("private")),
    ([100, 64, 0, 0], 10, Private("shared address space")),
    ([127, 0, 0, 0], 8, Private("loopback")),
    // The metadata service of a cloud.
    ([168, 63, 129, 16], 32, Prohibited("a cloud's own")),
    ([169, 254, 0, 0], 16, Prohibited("link-local")),
    ([172, 16, 0, 0], 12, Private("private")),
    ([192, 0, 0, 0], 24, Prohibited("reserved for protocols")),
    ([192, 0, 2, 0], 24, Prohibited("documentation")),
    ([192, 88, 99, 0], 24, Prohibited("a 6to4 relay")),
    ([192, 168, 0, 0], 16, Private("private")),
    ([198, 18, 0, 0], 15, Prohibited("benchmarking")),
    ([198, 51, 100, 0], 24, Prohibited("documentation")),
    ([203, 0, 113, 0], 24, Prohibited("documentation")),
    ([224, 0, 0, 0], 4, Prohibited("multicast")),
    ([255, 255, 255, 255], 32, Prohibited("broadcast")),
    ([240, 0, 0, 0], 4, Prohibited("reserved")),
];

/// IPv6 ranges: the first 32 bits of the network, length of its prefix, class. Everything else that is not global
/// unicast is prohibited.
const V6: &[(u32, u32, Reach)] = &[
    (0xfc00_0000, 7, Private("unique local")),
    (0xfe80_0000, 10, Prohibited("link-local")),
    (0xff00_0000, 8, Prohibited("multicast")),
    // Includes Teredo, benchmarking and ORCHID.
    (0x2001_0000, 23, Prohibited("reserved for protocols")),
    (0x2001_0db8, 32, Prohibited("documentation")),
    (0x3fff_0000, 20, Prohibited("documentation")),
];

/// The first 96 bits of IPv6 addresses that embed an IPv4 address, except for 6to4.
const EMBEDDED: &[u128] = &[
    // IPv4-compatible (RFC 4291 2.5.5.1), including the unspecified address, and IPv4-mapped (2.5.5.2).
    0,
    0xffff,
    // IPv4-translated (RFC 2765 2.1).
    0xffff_0000,
    // NAT64 (RFC 6052 2.1).
    0x0064_ff9b << 64,
];

/// The first 16 bits of 6to4, which the IPv4 address follows (RFC 3056 2).
const SIX_TO_FOUR: u128 = 0x2002;

/// The first 3 bits of global unicast (RFC 4291 2.4), the only addresses that are assigned.
const GLOBAL: u128 = 0b001;

/// Classifies an address.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// An address to which the gateway does not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not a public address ({is})")]
pub struct NotPublic {
    /// The address.
    pub address: IpAddr,
    /// Its class.
    pub is: &'static str,
    /// Whether the operator can allow it, because it is private.
    pub is_private: bool,
}

/// Checks that the gateway may connect to an address: to every public one, and to private ones if `allow_private`.
///
/// # Errors
/// [`NotPublic`] for all others.
pub fn check(address: IpAddr, allow_private: bool) -> Result<(), NotPublic> {
    let (is, is_private) = match reach(address) {
        Public => return Ok(()),
        Private(_) if allow_private => return Ok(()),
        Private(is) => (is, true),
        Prohibited(is) => (is, false),
    };
    Err(NotPublic {
        address,
        is,
        is_private,
    })
}

/// Whether no server can have this address.
#[must_use]
pub fn is_nobody(address: IpAddr) -> bool {
    matches!(
        reach(address),
        Prohibited("unspecified" | "multicast" | "broadcast")
    )
}

fn v4(address: Ipv4Addr) -> Reach {
    find(V4, address.to_bits(), |network| u32::from_be_bytes(*network)).unwrap_or(Public)
}

fn v6(address: Ipv6Addr) -> Reach {
    let bits = address.to_bits();
    let [a, b, c, d, ..] = bits.to_be_bytes();
    let embedded = if EMBEDDED.contains(&(bits >> 32)) {
        Some(bits)
    } else if bits >> 112 == SIX_TO_FOUR {
        Some(bits >> 80)
    } else {
        None
    };
    if address.is_loopback() {
        Private("loopback")
    } else if let Some(embedded) = embedded {
        let [.., a, b, c, d] = embedded.to_be_bytes();
        v4(Ipv4Addr::new(a, b, c, d))
    } else if let Some(reach) = find(V6, u32::from_be_bytes([a, b, c, d]), |network| *network) {
        reach
    } else if bits >> 125 == GLOBAL {
        Public
    } else {
        Prohibited("reserved")
    }
}

/// Returns the class of the first range that contains these bits.
fn find<N>(ranges: &[(N, u32, Reach)], bits: u32, network: impl Fn(&N) -> u32) -> Option<Reach> {
    ranges
        .iter()
        .find(|(begins, length, _)| (bits ^ network(begins)).leading_zeros() >= *length)
        .map(|(_, _, reach)| *reach)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Reach::{self, Private, Prohibited, Public};
    use super::{is_nobody, reach};

    fn of(text: &str) -> Reach {
        reach(text.parse::<IpAddr>().unwrap())
    }

    /// First and last address of each range, with what it is.
    const SPECIAL_V4: &[(&str, &str, Reach)] = &[
        ("0.0.0.0", "0.255.255.255", Prohibited("unspecified")),
        ("10.0.0.0", "10.255.255.255", Private("private")),
        ("100.64.0.0", "100.127.255.255", Private("shared address space")),
        ("127.0.0.0", "127.255.255.255", Private("loopback")),
        ("168.63.129.16", "168.63.129.16", Prohibited("a cloud's own")),
        ("169.254.0.0", "169.254.169.254", Prohibited("link-local")),
        ("169.254.169.254", "169.254.255.255", Prohibited("link-local")),
        ("172.16.0.0", "172.31.255.255", Private("private")),
        ("192.0.0.0", "192.0.0.255", Prohibited("reserved for protocols")),
        ("192.0.2.0", "192.0.2.255", Prohibited("documentation")),
        ("192.88.99.0", "192.88.99.255", Prohibited("a 6to4 relay")),
        ("192.168.0.0", "192.168.255.255", Private("private")),
        ("198.18.0.0", "198.19.255.255", Prohibited("benchmarking")),
        ("198.51.100.0", "198.51.100.255", Prohibited("documentation")),
        ("203.0.113.0", "203.0.113.255", Prohibited("documentation")),
        ("224.0.0.0", "239.255.255.255", Prohibited("multicast")),
        ("240.0.0.0", "255.255.255.254", Prohibited("reserved")),
        ("255.255.255.255", "255.255.255.255", Prohibited("broadcast")),
    ];

    const PUBLIC_V4: &[&str] = &[
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "192.88.98.255",
        "192.88.100.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
    ];

    /// Every way to embed an IPv4 address in an IPv6 address.
    fn embedded(address: &str) -> [String; 5] {
        let bits = address.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
        [
            format!("::ffff:{address}"),
            format!("::ffff:0:{address}"),
            format!("64:ff9b::{address}"),
            format!("2002:{:x}:{:x}::1", bits >> 16, bits & 0xffff),
            format!(
                "2002:{:x}:{:x}:ffff:ffff:ffff:ffff:ffff",
                bits >> 16,
                bits & 0xffff
            ),
        ]
    }

    #[test]
    fn ipv4_ranges_begin_and_end_where_the_registries_say() {
        for (first, last, is) in SPECIAL_V4 {
            assert_eq!((of(first), of(last)), (*is, *is), "{first}-{last}");
        }
        for address in PUBLIC_V4 {
            assert_eq!(of(address), Public, "{address}");
        }
    }

    #[test]
    fn embedded_ipv4_addresses_decide_the_class() {
        for (first, last, is) in SPECIAL_V4 {
            for address in [first, last].into_iter().flat_map(|address| embedded(address)) {
                assert_eq!(of(&address), *is, "{address}");
            }
        }
        for address in PUBLIC_V4.iter().flat_map(|address| embedded(address)) {
            assert_eq!(of(&address), Public, "{address}");
        }
        // IPv4-compatible addresses, except for :: and ::1.
        for (address, is) in [
            ("::10.0.0.5", Private("private")),
            ("::127.0.0.1", Private("loopback")),
            ("::169.254.169.254", Prohibited("link-local")),
            ("::0.0.0.2", Prohibited("unspecified")),
            ("::8.8.8.8", Public),
        ] {
            assert_eq!(of(address), is, "{address}");
        }
    }

    #[test]
    fn ipv6_ranges_have_their_class() {
        for (address, is) in [
            ("::", Prohibited("unspecified")),
            ("::1", Private("loopback")),
            ("fc00::", Private("unique local")),
            ("fd00:ec2::254", Private("unique local")),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private("unique local")),
            ("fe80::1", Prohibited("link-local")),
            ("febf:ffff::", Prohibited("link-local")),
            ("fec0::1", Prohibited("reserved")),
            ("fe00::1", Prohibited("reserved")),
            ("ff02::1", Prohibited("multicast")),
            ("100::1", Prohibited("reserved")),
            ("64:ff9b:1::7f00:1", Prohibited("reserved")),
            ("5f00::1", Prohibited("reserved")),
            ("4000::1", Prohibited("reserved")),
            ("1fff:ffff::", Prohibited("reserved")),
            ("2001::1", Prohibited("reserved for protocols")),
            ("2001:2::1", Prohibited("reserved for protocols")),
            ("2001:1ff:ffff::", Prohibited("reserved for protocols")),
            ("2001:200::", Public),
            ("2001:db8::1", Prohibited("documentation")),
            ("2001:db9::1", Public),
            ("3fff:fff:ffff::", Prohibited("documentation")),
            ("3ffe::1", Public),
            ("3fff:1000::", Public),
            ("ffff::1", Prohibited("multicast")),
            ("2606:4700::1111", Public),
            ("2a00:1450:4001::200e", Public),
        ] {
            assert_eq!(of(address), is, "{address}");
        }
    }

    #[test]
    fn addresses_of_this_machine_or_its_network_are_local() {
        for (address, is) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("10.0.0.5", true),
            ("fd00::1", true),
            ("169.254.169.254", true),
            ("fe80::1", true),
            ("224.0.0.1", false),
            ("203.0.113.7", false),
            ("8.8.8.8", false),
            ("2606:4700::1111", false),
        ] {
            assert_eq!(of(address).is_local(), is, "{address}");
        }
    }

    #[test]
    fn unspecified_multicast_and_broadcast_addresses_belong_to_nobody() {
        for (address, is) in [
            ("0.0.0.0", true),
            ("::", true),
            ("::ffff:0.0.0.0", true),
            ("255.255.255.255", true),
            ("224.0.0.251", true),
            ("ff02::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
        ] {
            assert_eq!(is_nobody(address.parse().unwrap()), is, "{address}");
        }
    }
}
