//! What a capture of ours says about a port beside its name, so that a replay has the same ports.

use datapath::ports::Port;
use packet::MacAddr;

/// What is known of a port.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Our own Ethernet address on it.
    pub mac: MacAddr,
    /// Ethernet address of the other side.
    pub peer_mac: MacAddr,
    /// Largest IP datagram that the other side takes.
    pub mtu: u32,
}

/// Begins the comment of an interface of ours.
const MARK: &str = "sluice port";

/// The comment of a port's interface.
#[must_use]
pub fn write(port: &Port) -> String {
    format!("{MARK}: mac={} peer={} mtu={}", port.mac, port.peer_mac, port.mtu)
}

/// What such a comment says; `None` for any other.
#[must_use]
pub fn read(comment: &str) -> Option<Facts> {
    let rest = comment.strip_prefix(MARK)?.strip_prefix(": ")?;
    let value = |key: &str| rest.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    Some(Facts { mac: mac(value("mac")?)?, peer_mac: mac(value("peer")?)?, mtu: value("mtu")?.parse().ok()? })
}

/// An Ethernet address as text.
#[must_use]
pub fn mac(text: &str) -> Option<MacAddr> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte =
            parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(MacAddr(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::ports::PortKind;

    #[test]
    fn what_is_written_is_read() {
        let (mac, peer_mac) = (MacAddr([2, 0, 0, 0, 0, 0xab]), MacAddr([0xfe; 6]));
        let port = Port {
            id: packet::PortId(3),
            name: "veth3".into(),
            kind: PortKind::Host,
            mac,
            peer_mac,
            mtu: 1400,
            partial_checksums: true,
        };
        let text = write(&port);
        assert_eq!(text, "sluice port: mac=02:00:00:00:00:ab peer=fe:fe:fe:fe:fe:fe mtu=1400");
        assert_eq!(read(&text), Some(Facts { mac, peer_mac, mtu: 1400 }));
        for wrong in
            ["", "sluice port: mac=1 peer=2 mtu=3", &text[..60], &text.replace("1400", "x"), "my veth"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
