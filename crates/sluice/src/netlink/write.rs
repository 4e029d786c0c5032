//! What the appliance changes in the kernel: its host port, and the routes and neighbours that lead to it.
//!
//! Everything is idempotent: making what exists and removing what does not are no errors.

use super::{Netlink, reason};
use anyhow::{Context as _, Result, anyhow};
use packet::MacAddr;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel's word for "is there already".
const EXISTS: i32 = libc::EEXIST;

impl Netlink {
    /// Makes a veth pair unless an interface called `name` exists.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create_veth(&self, name: &str, peer: &str) -> Result<()> {
        self.add(
            &format!("create {name} and {peer}"),
            self.handle.link().add(LinkVeth::new(name, peer).build()).execute(),
        )
    }

    /// Brings an interface up with that MTU.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_up(&self, index: u32, mtu: u32) -> Result<()> {
        let message: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu).up().build();
        self.wait("bring an interface up", self.handle.link().set(message).execute())
    }

    /// Removes an interface (and its other end) if there is one of that name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_link(&self, name: &str) -> Result<()> {
        match self.link(name)? {
            None => Ok(()),
            Some(link) => self.wait(&format!("remove {name}"), self.handle.link().del(link.index).execute()),
        }
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(&self, index: u32, address: ipnet::IpNet) -> Result<()> {
        let request = self.handle.address().add(index, address.addr(), address.prefix_len());
        self.add(&format!("add address {address}"), request.execute())
    }

    /// Gives an interface an address that is never chosen as the source of anything sent elsewhere.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_link_address(&self, index: u32, address: ipnet::IpNet) -> Result<()> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        request.message_mut().header.scope = AddressScope::Link;
        self.add(&format!("add address {address}"), request.execute())
    }

    /// Takes an address away again; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_address(&self, index: u32, address: ipnet::IpNet) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.header.family =
            if address.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.attributes.push(AddressAttribute::Local(address.addr()));
        self.remove(&format!("remove address {address}"), self.handle.address().del(message).execute())
    }

    /// Sends `prefix` to the interface, in the main table or in `table`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_route(&self, prefix: ipnet::IpNet, index: u32, table: Option<u32>) -> Result<()> {
        let request = self.handle.route().add(route(prefix, index, table)).replace();
        self.add(&format!("add a route to {prefix}"), request.execute())
    }

    /// Takes the route away again; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_route(&self, prefix: ipnet::IpNet, index: u32, table: Option<u32>) -> Result<()> {
        let request = self.handle.route().del(route(prefix, index, table));
        self.remove(&format!("remove the route to {prefix}"), request.execute())
    }

    /// Says which hardware address `ip` has behind the interface, for ever.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_neighbour(&self, index: u32, ip: IpAddr, mac: MacAddr) -> Result<()> {
        let request = self.handle.neighbours().add(index, ip).link_layer_address(&mac.0);
        self.add(&format!("add neighbour {ip}"), request.state(NeighbourState::Permanent).replace().execute())
    }

    /// Has packets that arrive on interface `name` routed by `table`, for both families.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_rule(&self, name: &str, table: u32, priority: u32) -> Result<()> {
        let rule = || {
            self.handle
                .rule()
                .add()
                .input_interface(name)
                .table_id(table)
                .priority(priority)
                .action(RuleAction::ToTable)
        };
        self.add("add an IPv4 routing rule", rule().v4().execute())?;
        self.add("add an IPv6 routing rule", rule().v6().execute())
    }

    /// Removes what [`add_rule`](Self::add_rule) made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_rule(&self, name: &str, table: u32, priority: u32) -> Result<()> {
        let rule = || {
            self.handle
                .rule()
                .add()
                .input_interface(name)
                .table_id(table)
                .priority(priority)
                .action(RuleAction::ToTable)
        };
        let (mut v4, mut v6) = (rule().v4(), rule().v6());
        self.remove("remove a rule", self.handle.rule().del(v4.message_mut().clone()).execute())?;
        self.remove("remove a rule", self.handle.rule().del(v6.message_mut().clone()).execute())
    }

    fn add(&self, what: &str, work: impl Future<Output = Result<(), rtnetlink::Error>>) -> Result<()> {
        self.tolerate(what, &[EXISTS], work)
    }

    fn remove(&self, what: &str, work: impl Future<Output = Result<(), rtnetlink::Error>>) -> Result<()> {
        self.tolerate(what, &[libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL], work)
    }

    fn tolerate(
        &self,
        what: &str,
        fine: &[i32],
        work: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> Result<()> {
        let bounded = async { tokio::time::timeout(super::PATIENCE, work).await };
        match self.runtime.block_on(bounded).with_context(|| format!("{what}: the kernel did not answer"))? {
            Ok(()) => Ok(()),
            Err(rtnetlink::Error::NetlinkError(message)) if fine.contains(&-message.raw_code()) => Ok(()),
            Err(error) => Err(anyhow!("{what}: {}", reason(&error))),
        }
    }
}

fn route(prefix: ipnet::IpNet, index: u32, table: Option<u32>) -> RouteMessage {
    match prefix {
        ipnet::IpNet::V4(v4) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4.network(), v4.prefix_len())
                .output_interface(index)
                .scope(RouteScope::Link);
            table.into_iter().fold(builder, RouteMessageBuilder::table_id).build()
        }
        ipnet::IpNet::V6(v6) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6.network(), v6.prefix_len())
                .output_interface(index);
            table.into_iter().fold(builder, RouteMessageBuilder::table_id).build()
        }
    }
}
