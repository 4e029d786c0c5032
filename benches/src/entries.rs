//! One list of what may talk to the server, in the dialect of each contender: policies, iptables rules, an nftables map,
//! keys of the eBPF program. Everybody gets the same peers; the one that matches stands last.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// netperf's control connection.
pub const CONTROL: u16 = 12_865;
/// netperf's data, on a port that is told to it, so that it can stand in a list.
pub const DATA: u16 = 5_001;
/// Where small frames go.
pub const DISCARD: u16 = 9;

/// IPv4 protocol numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;

/// What the client may reach.
pub const OPEN: [(u8, u16); 5] = [(TCP, CONTROL), (TCP, DATA), (UDP, CONTROL), (UDP, DATA), (UDP, DISCARD)];

/// Somebody who never comes: an address of 172.16.0.0/12, and the TCP port that it may reach.
#[must_use]
pub fn stranger(number: u32) -> (Ipv4Addr, u16) {
    let port = 1_024 + u16::try_from(number % 50_000).unwrap_or(0);
    (Ipv4Addr::from(0xac10_0000 + (number & 0xf_ffff)), port)
}

/// `count` policies for the server: one for each stranger, and the client's at the end.
#[must_use]
pub fn policies(count: u32) -> String {
    let mut text = String::new();
    for number in 1..count {
        let (address, port) = stranger(number);
        // Formatting into a string cannot fail.
        let _ok = write!(
            text,
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n\
             metadata: {{name: stranger-{number}, namespace: bench}}\nspec:\n  \
             endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  - fromCIDR: [{address}/32]\n    \
             toPorts: [{{ports: [{{port: \"{port}\", protocol: TCP}}]}}]\n---\n"
        );
    }
    let ports: Vec<String> = OPEN
        .iter()
        .map(|(protocol, port)| format!("{{port: \"{port}\", protocol: {}}}", name(*protocol).to_uppercase()))
        .collect();
    let _ok = write!(
        text,
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: client, namespace: bench}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  \
         - fromEndpoints: [{{matchLabels: {{app: client}}}}]\n    toPorts: [{{ports: [{}]}}]\n",
        ports.join(", ")
    );
    text
}

/// `count` rules on the way to the server in what `iptables-restore` reads, the client's last, then the way back.
/// `tracked`: packets of known connections are accepted before all rules, so that only the first one meets them.
#[must_use]
pub fn iptables(count: u32, tracked: bool, client: Ipv4Addr, server: Ipv4Addr) -> String {
    let mut text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
    if tracked {
        text.push_str("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
    }
    for number in 1..count {
        let (address, port) = stranger(number);
        let _ok = writeln!(
            text,
            "-A FORWARD -s {address}/32 -d {server}/32 -p tcp -m tcp --dport {port} -j ACCEPT"
        );
    }
    let _ok = writeln!(
        text,
        "-A FORWARD -s {client}/32 -d {server}/32 -j ACCEPT\n-A FORWARD -s {server}/32 -d {client}/32 -j ACCEPT\nCOMMIT"
    );
    text
}

/// A verdict map of `count` entries and more, looked up once on the way to the server and twice on the way back.
#[must_use]
pub fn nftables(count: u32, client: Ipv4Addr, server: Ipv4Addr) -> String {
    let mut elements: Vec<String> = (1..count)
        .map(|number| {
            let (address, port) = stranger(number);
            format!("{address} . {server} . tcp . {port} : accept")
        })
        .collect();
    elements.extend(
        OPEN.iter()
            .map(|(protocol, port)| format!("{client} . {server} . {} . {port} : accept", name(*protocol))),
    );
    format!(
        "table ip bench {{\n  counter seen {{ }}\n  counter refused {{ }}\n  map verdicts {{\n    \
         type ipv4_addr . ipv4_addr . inet_proto . inet_service : verdict\n    elements = {{ {} }}\n  }}\n  \
         chain forward {{\n    type filter hook forward priority filter; policy drop;\n    counter name seen\n    \
         ip saddr . ip daddr . ip protocol . th dport vmap @verdicts\n    \
         ip daddr . ip saddr . ip protocol . th sport vmap @verdicts\n    counter name refused drop\n  }}\n}}\n",
        elements.join(", ")
    )
}

/// Keys of the eBPF program: client, server, protocol and the server's port.
pub fn keys(
    count: u32,
    client: Ipv4Addr,
    server: Ipv4Addr,
) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr, u8, u16)> {
    let strangers = (1..count).map(move |number| {
        let (address, port) = stranger(number);
        (address, server, TCP, port)
    });
    strangers.chain(OPEN.iter().map(move |(protocol, port)| (client, server, *protocol, *port)))
}

const fn name(protocol: u8) -> &'static str {
    if protocol == TCP { "tcp" } else { "udp" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 10);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 11);

    #[test]
    fn every_dialect_has_as_many_entries_as_it_was_asked_for() {
        for count in [1, 2, 1_000] {
            let wanted = count as usize;
            assert_eq!(policies(count).matches("kind: CiliumNetworkPolicy").count(), wanted);
            // One more for the way back.
            assert_eq!(iptables(count, false, CLIENT, SERVER).matches("-j ACCEPT").count(), wanted + 1);
            assert_eq!(iptables(count, true, CLIENT, SERVER).matches("-j ACCEPT").count(), wanted + 2);
            // The client has an entry for each of its ports.
            let more = OPEN.len() - 1;
            assert_eq!(nftables(count, CLIENT, SERVER).matches(": accept").count(), wanted + more);
            let keys: BTreeSet<_> = keys(count, CLIENT, SERVER).collect();
            assert_eq!(keys.len(), wanted + more, "no key twice");
        }
    }

    #[test]
    fn the_rule_that_matches_is_the_last_one_on_the_way_there() {
        let text = iptables(100, false, CLIENT, SERVER);
        let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A")).collect();
        assert_eq!(rules[99], "-A FORWARD -s 10.244.1.10/32 -d 10.244.1.11/32 -j ACCEPT");
    }

    #[test]
    fn strangers_are_not_pods() {
        for number in [1, 9_999, 0xf_ffff, u32::MAX] {
            let (address, port) = stranger(number);
            assert!(
                address.octets()[0] == 172 && address.octets()[1] >> 4 == 1 && port >= 1_024,
                "{address}"
            );
        }
    }
}
