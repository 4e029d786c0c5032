//! What the kernel says about one interface, asked by rtnetlink: name, receive queues, attached XDP program.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// `RTM_GETLINK`, `NLM_F_REQUEST`, `NLMSG_ERROR`, `RTM_NEWLINK` of rtnetlink(7).
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const NLMSG_HEADER: usize = 16;
const IFINFO: usize = 16;
/// Attribute types of if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// The nested and byte-order flags of an attribute type.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// A link message with many virtual functions can be large.
const REPLY_MAX: usize = 64 << 10;

/// How long a detachment may take to show.
const DETACH_PATIENCE: Duration = Duration::from_millis(500);

/// How a program is attached to an interface.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the driver, before an skb exists.
    Native,
    /// In the stack, on skbs: slower, and reported.
    Generic,
}

/// One interface as the kernel describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) rx_queues: u32,
    /// Program number and mode, if one is attached. Several programs at once are reported as `Native`.
    pub(crate) xdp: Option<(u32, AttachMode)>,
}

/// Asks about interface `ifindex` of the calling thread's network namespace.
pub(crate) fn query(ifindex: u32) -> io::Result<Interface> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(NLMSG_HEADER + IFINFO);
    request.extend_from_slice(&((NLMSG_HEADER + IFINFO) as u32).to_ne_bytes());
    request.extend_from_slice(&RTM_GETLINK.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    // struct ifinfomsg: family and pad, type, index, flags, change mask.
    request.extend_from_slice(&[0, 0, 0, 0]);
    request.extend_from_slice(&ifindex.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut reply = vec![0; REPLY_MAX];
    let len = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    reply.truncate(len);
    parse(&reply)
}

/// Waits until `program` is no longer attached to `ifindex`: the kernel gives a link's last reference back from a
/// work queue, some milliseconds after the last handle and pin are gone. Gives up after half a second.
pub(crate) fn wait_detached(ifindex: u32, program: u32) {
    let until = Instant::now() + DETACH_PATIENCE;
    while Instant::now() < until {
        match query(ifindex) {
            Ok(Interface { xdp: Some((id, _)), .. }) if id == program => {
                std::thread::sleep(Duration::from_millis(1))
            }
            _ => return,
        }
    }
}

fn parse(reply: &[u8]) -> io::Result<Interface> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "netlink reply too short");
    match u16_at(reply, 4).ok_or_else(short)? {
        RTM_NEWLINK => {}
        NLMSG_ERROR => {
            let code = u32_at(reply, NLMSG_HEADER).ok_or_else(short)? as i32;
            return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
        }
        other => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("netlink message type {other}")));
        }
    }
    let mut interface = Interface { rx_queues: 1, ..Interface::default() };
    for (kind, value) in Attributes(reply.get(NLMSG_HEADER + IFINFO..).ok_or_else(short)?) {
        match kind {
            IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                interface.name = String::from_utf8_lossy(name).into_owned();
            }
            IFLA_NUM_RX_QUEUES => interface.rx_queues = u32_at(value, 0).unwrap_or(1).max(1),
            IFLA_XDP => interface.xdp = xdp(value),
            _ => {}
        }
    }
    Ok(interface)
}

/// The nested attribute that tells which program is attached and how.
fn xdp(nested: &[u8]) -> Option<(u32, AttachMode)> {
    let (mut attached, mut id) = (0, None);
    for (kind, value) in Attributes(nested) {
        match kind {
            IFLA_XDP_ATTACHED => attached = value.first().copied().unwrap_or(0),
            IFLA_XDP_PROG_ID => id = u32_at(value, 0),
            _ => {}
        }
    }
    match attached {
        0 => None,
        2 => Some((id.unwrap_or(0), AttachMode::Generic)),
        _ => Some((id.unwrap_or(0), AttachMode::Native)),
    }
}

/// Walks `struct nlattr`s; stops at the first damaged one.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described_without_a_program() {
        let lo = query(1).expect("every namespace has a loopback");
        assert_eq!((lo.name.as_str(), lo.xdp), ("lo", None));
        assert!(lo.rx_queues >= 1);
    }

    #[test]
    fn an_unknown_index_is_the_kernels_error() {
        assert_eq!(
            query(0x7fff_fff0).expect_err("no such interface").raw_os_error(),
            Some(nix::libc::ENODEV)
        );
    }

    #[test]
    fn damaged_attributes_end_the_walk() {
        assert_eq!(Attributes(&[3, 0, 1, 0, 9]).count(), 0);
        assert_eq!(Attributes(&[200, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        assert!(parse(&[0; 5]).is_err());
    }
}
