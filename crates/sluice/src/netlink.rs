//! The kernel's view of interfaces, addresses, routes and neighbours.
//!
//! Blocking calls over one netlink socket, for the control thread; every call answers or fails within
//! `PATIENCE`. It belongs to the network namespace of the thread that opened it.

mod monitor;
mod write;

pub use monitor::watch;

use anyhow::{Context as _, Result, anyhow};
use futures_util::TryStreamExt as _;
use packet::MacAddr;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

/// How long an answer of the kernel is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; zero where it has none.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// `veth`, `dummy`, …; empty for hardware.
    pub kind: String,
    /// The other end of a veth: its number, and the local number of its namespace if that is another one.
    pub peer: Option<(u32, Option<i32>)>,
}

/// A netlink socket and what drives it.
pub struct Netlink {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the system refuses the socket.
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the netlink event loop")?;
        let _inside = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        runtime.spawn(connection);
        drop(_inside);
        Ok(Self { runtime, handle })
    }

    fn wait<T>(&self, what: &str, work: impl Future<Output = Result<T, rtnetlink::Error>>) -> Result<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await })
            .map_err(|_| anyhow!("{what}: the kernel did not answer"))?
            .map_err(|error| anyhow!("{what}: {}", reason(&error)))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&self) -> Result<Vec<Link>> {
        let messages: Vec<LinkMessage> =
            self.wait("list interfaces", self.handle.link().get().execute().try_collect())?;
        Ok(messages.iter().map(Link::from_message).collect())
    }

    /// The interface of that name, if there is one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// The other end of a veth, also where it is in another namespace.
    ///
    /// # Errors
    /// When `link` is no veth or its other end cannot be seen.
    pub fn peer(&self, link: &Link) -> Result<Link> {
        let Some((index, netns)) = link.peer else {
            return Err(anyhow!("{} has no other end that can be asked: it is no veth", link.name));
        };
        let mut request = self.handle.link().get().match_index(index);
        if let Some(id) = netns {
            // IFLA_TARGET_NETNSID: the question is about an interface of that namespace.
            request.message_mut().attributes.push(LinkAttribute::IfNetnsId(id));
        }
        let message = self
            .wait(&format!("look up the other end of {}", link.name), request.execute().try_next())?
            .ok_or_else(|| anyhow!("{}: its other end is gone", link.name))?;
        Ok(Link::from_message(&message))
    }

    /// Every address of this namespace that others may send to (not loopback, not link-local).
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn host_addresses(&self) -> Result<Vec<IpAddr>> {
        let messages: Vec<_> =
            self.wait("list addresses", self.handle.address().get().execute().try_collect())?;
        let mut addresses = Vec::new();
        for message in messages {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let plain = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            addresses.extend(local.or(plain).filter(|ip| {
                let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
                !ip.is_loopback() && !link_local
            }));
        }
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }
}

impl Link {
    fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: MacAddr::default(),
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            kind: String::new(),
            peer: None,
        };
        let (mut other, mut netns) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().map(MacAddr).unwrap_or_default();
                }
                LinkAttribute::Link(index) => other = Some(*index),
                LinkAttribute::LinkNetNsId(id) => netns = Some(*id),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = match kind {
                                InfoKind::Veth => "veth".into(),
                                other => format!("{other:?}").to_lowercase(),
                            };
                        }
                    }
                }
                _ => {}
            }
        }
        link.peer = other.filter(|index| *index != 0 && link.kind == "veth").map(|index| (index, netns));
        link
    }
}

/// The system's own words for an error of the library.
fn reason(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}
