//! On which port did a captured frame arrive?
//!
//! 1. A capture of ours says it: each of its interfaces is a port, and its frames are those that arrived there. Frames
//!    that the node made itself are left out; it makes them again.
//! 2. The user says it (`--port-map`), by the name of the capture's interface or by Ethernet address.
//! 3. The packet's source address says it: a local pod's is that pod's port, any other the host port. What has no
//!    address of that kind (neighbour discovery) goes where earlier frames of its Ethernet address went.
//!
//! In the first case frames stay as they are, and a forged Ethernet address is found as it was. In the others the
//! Ethernet addresses are those of the place where somebody captured, and are replaced by those of the port.

use crate::capture::facts::{self, Facts};
use anyhow::{Result, bail};
use packet::io::pcap::{Interface, Record};
use packet::{Addr, MacAddr, Parsed, PortId};
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ethernet addresses whose port is remembered.
const MAX_MACS: usize = 4096;

/// Where the sender's Ethernet address stands in an ARP packet, after the Ethernet header (RFC 826).
const ARP_SENDER: std::ops::Range<usize> = 22..28;

/// One port of the node, before it is one.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// `namespace/pod`, or `host`.
    pub(super) owner: String,
    /// Its interface; empty if nobody says it.
    pub(super) interface: String,
    /// The pod's addresses.
    pub(super) addrs: Vec<Addr>,
    /// Ethernet address of the other side.
    pub(super) peer_mac: MacAddr,
    /// Whether that is what the inventory says.
    pub(super) knows_mac: bool,
    /// Our own Ethernet address.
    pub(super) mac: MacAddr,
}

/// What the user says about frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PortMap {
    name: String,
    port: String,
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((name, port)) if !name.is_empty() && !port.is_empty() => {
                Ok(Self { name: name.to_owned(), port: port.to_owned() })
            }
            _ => Err("write an interface or Ethernet address, `=`, and namespace/pod or host".to_owned()),
        }
    }
}

/// Records that are not replayed, by reason.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Skipped {
    /// Only a part of the frame is there.
    pub(super) cut: u64,
    /// Nothing says on which port it arrived.
    pub(super) unplaced: u64,
    /// Made by the node itself.
    pub(super) generated: u64,
    /// Of an interface that is not Ethernet.
    pub(super) other_link: u64,
}

#[derive(Debug, Default)]
struct Inner {
    seats: Vec<Seat>,
    by_name: HashMap<String, PortId>,
    by_addr: HashMap<Addr, PortId>,
    by_mac: HashMap<MacAddr, PortId>,
    told: HashMap<String, PortId>,
    /// Interfaces of ours, by number: each belongs to one port.
    facts: HashMap<PortId, Facts>,
    new_facts: Vec<(PortId, Facts)>,
    skipped: Skipped,
}

/// Finds ports; shared with whoever wants to know what it found.
#[derive(Clone, Debug, Default)]
pub(super) struct Placer(Arc<Mutex<Inner>>);

impl Placer {
    /// A placer for these ports, numbered in their order.
    pub(super) fn new(seats: &[Seat], map: &[PortMap]) -> Result<Self> {
        let mut inner = Inner { seats: seats.to_vec(), ..Inner::default() };
        for (id, seat) in (0..).map(PortId).zip(seats) {
            for name in [&seat.owner, &seat.interface] {
                if !name.is_empty() {
                    inner.by_name.insert(name.clone(), id);
                }
            }
            for addr in &seat.addrs {
                inner.by_addr.insert(*addr, id);
            }
            if seat.knows_mac {
                inner.by_mac.insert(seat.peer_mac, id);
            }
        }
        for PortMap { name, port } in map {
            let Some(id) = inner.by_name.get(port).copied() else {
                bail!("--port-map {name}={port}: no pod {port} on this node; write namespace/pod, or host");
            };
            match facts::mac(name) {
                Some(mac) => drop(inner.by_mac.insert(mac, id)),
                None => drop(inner.told.insert(name.clone(), id)),
            }
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// The port of a frame, which is changed to look as on that port; `None` if it is not replayed.
    pub(super) fn place(&self, record: &mut Record, interface: Option<&Interface>) -> Option<PortId> {
        let mut inner = self.lock();
        if record.is_cut() {
            inner.skipped.cut += 1;
            return None;
        }
        if interface.is_some_and(|interface| !interface.is_ethernet) {
            inner.skipped.other_link += 1;
            return None;
        }
        if let Some((id, facts)) = interface.and_then(|interface| inner.ours(interface)) {
            if record.outbound {
                inner.skipped.generated += 1;
                return None;
            }
            if inner.facts.insert(id, facts) != Some(facts) {
                inner.new_facts.push((id, facts));
            }
            return Some(id);
        }
        let told = interface.and_then(|interface| inner.told.get(&interface.name).copied());
        let found = told.or_else(|| inner.by_source(&record.bytes));
        let Some(id) = found else {
            inner.skipped.unplaced += 1;
            return None;
        };
        inner.dress(id, &mut record.bytes);
        Some(id)
    }

    /// What interfaces of ours said about their ports since the last call.
    pub(super) fn take_facts(&self) -> Vec<(PortId, Facts)> {
        std::mem::take(&mut self.lock().new_facts)
    }

    /// What was not replayed so far.
    pub(super) fn skipped(&self) -> Skipped {
        self.lock().skipped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The port that an interface of ours is.
    fn ours(&self, interface: &Interface) -> Option<(PortId, Facts)> {
        let facts = facts::read(&interface.comment)?;
        let id = self.by_name.get(&interface.description).or_else(|| self.by_name.get(&interface.name))?;
        Some((*id, facts))
    }

    /// The port that a frame's addresses name.
    fn by_source(&mut self, bytes: &[u8]) -> Option<PortId> {
        let mac = MacAddr(*bytes.get(6..12)?.first_chunk()?);
        let source = match packet::parse(bytes, bytes.len()) {
            Ok(Parsed::Ip(packet)) => Some(packet.src),
            Ok(Parsed::Arp(arp)) => Some(arp.sender),
            Err(_) => None,
        };
        let source =
            source.filter(|addr| !addr.is_link_local() && *addr != Addr(0) && *addr != Addr::v4([0; 4]));
        let Some(source) = source else { return self.by_mac.get(&mac).copied() };
        let id = self.by_addr.get(&source).copied().unwrap_or(PortId(0));
        // The node's own address is in front of many; a pod's is its own.
        if id != PortId(0) && self.by_mac.len() < MAX_MACS {
            self.by_mac.entry(mac).or_insert(id);
        }
        Some(id)
    }

    /// Gives a frame the Ethernet addresses that it would have on that port.
    fn dress(&self, id: PortId, bytes: &mut [u8]) {
        let Some(seat) = self.seats.get(usize::from(id.0)) else { return };
        let Some((dst, rest)) = bytes.split_first_chunk_mut::<6>() else { return };
        if dst[0] & 1 == 0 {
            *dst = seat.mac.0;
        }
        if let Some(src) = rest.first_chunk_mut::<6>() {
            *src = seat.peer_mac.0;
        }
        let is_arp = bytes.get(12..14) == Some(&[0x08, 0x06]);
        if let Some(sender) = bytes.get_mut(ARP_SENDER).filter(|_| is_arp) {
            sender.copy_from_slice(&seat.peer_mac.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Instant;

    const POD: PortId = PortId(1);
    const OTHER: PortId = PortId(2);
    const HOST: PortId = PortId(0);

    fn seats() -> Vec<Seat> {
        let seat = |owner: &str, interface: &str, ip: &[u8], last| Seat {
            owner: owner.into(),
            interface: interface.into(),
            addrs: ip.iter().map(|last| Addr::v4([10, 0, 0, *last])).collect(),
            peer_mac: MacAddr([2, 9, 9, 9, 9, last]),
            knows_mac: last == 2,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
        };
        vec![
            seat("host", "sluice_net", &[], 0),
            seat("a/pod", "veth1", &[1], 1),
            seat("a/other", "veth2", &[2], 2),
        ]
    }

    /// An IPv4 frame from there, without anything behind its header.
    fn frame(mac: u8, src: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20];
        frame[..12].copy_from_slice(&[2, 5, 5, 5, 5, 5, 2, 7, 7, 7, 7, mac]);
        frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        frame[16..18].copy_from_slice(&20_u16.to_be_bytes());
        (frame[22], frame[23]) = (64, 59);
        frame[26..30].copy_from_slice(&src);
        frame[30..34].copy_from_slice(&[198, 51, 100, 2]);
        let sum: u32 = frame[14..34].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        frame
    }

    fn record(bytes: Vec<u8>) -> Record {
        let original_len = u32::try_from(bytes.len()).expect("short");
        Record { time: Instant::ZERO, interface: 0, outbound: false, original_len, bytes }
    }

    fn interface(name: &str, description: &str, comment: &str) -> Interface {
        Interface::ethernet(name, description, comment)
    }

    #[test]
    fn the_source_address_names_the_port_and_the_frame_is_dressed_for_it() {
        let placer = Placer::new(&seats(), &[]).expect("valid");
        let mut from_pod = record(frame(1, [10, 0, 0, 1]));
        assert_eq!(placer.place(&mut from_pod, None), Some(POD));
        assert_eq!(from_pod.bytes[..12], [2, 0, 0, 0, 0, 1, 2, 9, 9, 9, 9, 1]);
        assert_eq!(placer.place(&mut record(frame(9, [203, 0, 113, 9])), None), Some(HOST));
        // Without an address that says anything: by the Ethernet address seen with one, or in the inventory.
        assert_eq!(placer.place(&mut record(frame(1, [169, 254, 3, 3])), None), Some(POD));
        assert_eq!(placer.place(&mut record(frame(8, [169, 254, 3, 3])), None), None);
        let mut listed = frame(8, [169, 254, 3, 3]);
        listed[6..12].copy_from_slice(&[2, 9, 9, 9, 9, 2]);
        assert_eq!(placer.place(&mut record(listed), None), Some(OTHER));
        assert_eq!(placer.skipped(), Skipped { unplaced: 1, ..Skipped::default() });
    }

    #[test]
    fn an_interface_of_ours_is_its_port_whatever_the_frame_says() {
        let placer = Placer::new(&seats(), &[]).expect("valid");
        let comment = "sluice port: mac=02:00:00:00:00:0a peer=02:00:00:00:00:0b mtu=1400";
        let forged = record(frame(1, [10, 0, 0, 2]));
        let mut placed = forged.clone();
        let ours = interface("vethX", "a/pod", comment);
        assert_eq!(placer.place(&mut placed, Some(&ours)), Some(POD));
        assert_eq!(placed, forged, "as it came");
        let facts = placer.take_facts();
        assert_eq!((facts.len(), facts[0].0, facts[0].1.mtu), (1, POD, 1400));
        placer.place(&mut forged.clone(), Some(&ours));
        assert!(placer.take_facts().is_empty(), "nothing new");
        let mut made = Record { outbound: true, ..forged.clone() };
        assert_eq!(placer.place(&mut made, Some(&ours)), None);
        let by_interface = interface("veth2", "renamed/pod", comment);
        assert_eq!(placer.place(&mut forged.clone(), Some(&by_interface)), Some(OTHER));
        // Somebody else's capture on a veth has both directions: the name says nothing, nor does the flag.
        let foreign = interface("veth1", "", "");
        let mut towards = Record { outbound: true, ..forged };
        assert_eq!(placer.place(&mut towards, Some(&foreign)), Some(OTHER));
        assert_eq!(placer.skipped(), Skipped { generated: 1, ..Skipped::default() });
    }

    #[test]
    fn what_the_user_says_counts_before_the_source() {
        let map = ["eth7=a/other", "02:07:07:07:07:08=host"].map(|text| text.parse().expect("valid"));
        let placer = Placer::new(&seats(), &map).expect("valid");
        let eth7 = interface("eth7", "", "");
        assert_eq!(placer.place(&mut record(frame(1, [10, 0, 0, 1])), Some(&eth7)), Some(OTHER));
        assert_eq!(placer.place(&mut record(frame(8, [169, 254, 3, 3])), None), Some(HOST));
        let wrong: [PortMap; 1] = ["eth0=a/none".parse().expect("valid")];
        assert!(Placer::new(&seats(), &wrong).is_err());
        for wrong in ["eth0", "=a/b", "eth0="] {
            assert!(wrong.parse::<PortMap>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_of_frames_and_other_links_are_left_out() {
        let placer = Placer::new(&seats(), &[]).expect("valid");
        let mut cut = record(frame(1, [10, 0, 0, 1]));
        cut.original_len += 1;
        assert_eq!(placer.place(&mut cut, None), None);
        let raw = Interface::default();
        assert_eq!(placer.place(&mut record(frame(1, [10, 0, 0, 1])), Some(&raw)), None);
        assert_eq!(placer.place(&mut record(vec![1; 5]), None), None);
        assert_eq!(placer.skipped(), Skipped { cut: 1, other_link: 1, unplaced: 1, ..Skipped::default() });
    }
}
