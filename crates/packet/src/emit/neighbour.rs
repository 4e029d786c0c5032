//! ARP and neighbour discovery messages.

use super::{Envelope, ethernet, icmp_message};
use crate::addr::{Addr, MacAddr};
use crate::arp;
use crate::ether;
use crate::icmp::v6;
use crate::ndp::Solicitation;
use crate::packet::{Arp, Packet};

/// ff02::1, all nodes on the link (RFC 4291 §2.7.1).
const ALL_NODES: Addr = Addr(0xff02_0000_0000_0000_0000_0000_0000_0001);
/// ff02::1:ff00:0, to which the low 24 bits of an address are added.
const SOLICITED_NODE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;

/// Hop limit that neighbour discovery demands (RFC 4861 §7.1).
const ON_LINK: u8 = 255;

const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;

/// Writes the answer to an ARP request: `target` is at `mac`. `None` also for what is no request.
pub fn arp_reply(out: &mut [u8], asked: &Arp, mac: MacAddr) -> Option<usize> {
    if !asked.request {
        return None;
    }
    arp_packet(out, arp::REPLY, (mac, asked.target), (asked.sender_mac, asked.sender), asked.sender_mac)
}

/// Writes an ARP request for `target`.
pub fn arp_request(out: &mut [u8], mac: MacAddr, sender: Addr, target: Addr) -> Option<usize> {
    arp_packet(out, arp::REQUEST, (mac, sender), (MacAddr::default(), target), MacAddr::BROADCAST)
}

fn arp_packet(
    out: &mut [u8],
    operation: u16,
    sender: (MacAddr, Addr),
    target: (MacAddr, Addr),
    eth_dst: MacAddr,
) -> Option<usize> {
    let (sender_ip, target_ip) = (sender.1.as_v4()?, target.1.as_v4()?);
    ethernet(out, sender.0, eth_dst, ether::ARP)?;
    let p = out.get_mut(ether::HEADER_LEN..)?.first_chunk_mut::<{ arp::PACKET_LEN }>()?;
    p[0..6].copy_from_slice(&arp::FORM);
    p[6..8].copy_from_slice(&operation.to_be_bytes());
    p[8..14].copy_from_slice(&sender.0.0);
    p[14..18].copy_from_slice(&sender_ip.to_be_bytes());
    p[18..24].copy_from_slice(&target.0.0);
    p[24..28].copy_from_slice(&target_ip.to_be_bytes());
    Some(ether::HEADER_LEN + arp::PACKET_LEN)
}

/// Writes the advertisement that answers a solicitation: its target is at `mac` (RFC 4861 §4.4, §7.2.4). To a
/// duplicate address detection it goes to all nodes, because its sender has no address yet.
pub fn neighbour_advertisement(
    out: &mut [u8],
    packet: &Packet,
    asked: &Solicitation,
    mac: MacAddr,
    router: bool,
) -> Option<usize> {
    let (dst, eth_dst, solicited) = if asked.duplicate_detection {
        (ALL_NODES, multicast_mac(ALL_NODES), 0)
    } else {
        (packet.src, asked.source_mac.unwrap_or(packet.eth_src), FLAG_SOLICITED)
    };
    let envelope = Envelope { eth_src: mac, eth_dst, src: asked.target, dst, ttl: ON_LINK, traffic_class: 0 };
    let flags = FLAG_OVERRIDE | solicited | if router { FLAG_ROUTER } else { 0 };
    let body = target_and_option(asked.target, OPTION_TARGET, mac);
    icmp_message(out, &envelope, v6::NEIGHBOUR_ADVERTISEMENT, 0, [flags, 0, 0, 0], &body)
}

/// Writes a solicitation for `target` to its solicited-node group (RFC 4861 §4.3).
pub fn neighbour_solicitation(out: &mut [u8], mac: MacAddr, source: Addr, target: Addr) -> Option<usize> {
    let dst = Addr(SOLICITED_NODE | (target.0 & 0x00ff_ffff));
    let envelope = Envelope {
        eth_src: mac,
        eth_dst: multicast_mac(dst),
        src: source,
        dst,
        ttl: ON_LINK,
        traffic_class: 0,
    };
    let body = target_and_option(target, OPTION_SOURCE, mac);
    // RFC 4861 §4.3: no link-layer address option from the unspecified address.
    let body = if source.0 == 0 { &body[..16] } else { &body[..] };
    icmp_message(out, &envelope, v6::NEIGHBOUR_SOLICITATION, 0, [0; 4], body)
}

fn target_and_option(target: Addr, option: u8, mac: MacAddr) -> [u8; 24] {
    let mut body = [0; 24];
    body[..16].copy_from_slice(&target.0.to_be_bytes());
    body[16..18].copy_from_slice(&[option, 1]);
    body[18..].copy_from_slice(&mac.0);
    body
}

/// 33:33 and the low four bytes of the group (RFC 2464 §7).
fn multicast_mac(group: Addr) -> MacAddr {
    let [a, b, c, d] = (group.0 as u32).to_be_bytes();
    MacAddr([0x33, 0x33, a, b, c, d])
}
