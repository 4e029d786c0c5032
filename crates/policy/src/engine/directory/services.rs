//! Services by their virtual addresses.

use crate::engine::Map;
use crate::inventory::Service;
use crate::rule::Protocol;
use packet::Addr;
use std::sync::Arc;

/// A service at one of its addresses.
#[derive(Clone, Debug)]
struct Entry {
    namespace: Arc<str>,
    name: Arc<str>,
    ports: Arc<[(u8, u16)]>,
}

/// Which service has which address.
#[derive(Clone, Debug, Default)]
pub(super) struct Services(Map<Addr, Vec<Entry>>);

impl Services {
    pub(super) fn new(services: &[Service]) -> Self {
        let mut found: Map<Addr, Vec<Entry>> = Map::default();
        for service in services {
            let ports = service.ports.iter().map(|port| (number(port.protocol), port.port)).collect();
            let (namespace, name) = (Arc::clone(&service.namespace), Arc::clone(&service.name));
            let entry = Entry { namespace, name, ports };
            for ip in &service.ips {
                found.entry(Addr::from(*ip)).or_default().push(entry.clone());
            }
        }
        Self(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Several services may share an address, told apart by their ports; one alone has all of it.
    pub(super) fn get(&self, addr: Addr, protocol: u8, port: u16) -> Option<(&Arc<str>, &Arc<str>)> {
        let entry = match self.0.get(&addr)?.as_slice() {
            [only] => only,
            several => several.iter().find(|entry| entry.ports.contains(&(protocol, port)))?,
        };
        Some((&entry.namespace, &entry.name))
    }
}

/// The number of a protocol; ports of services never mean all three.
const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp | Protocol::Any => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::load_inventory;

    #[test]
    fn an_address_that_services_share_is_told_apart_by_the_port() {
        let text = "services:\n\
            - {name: api, namespace: shop, ips: [10.96.0.10, \"fd00::10\"], ports: [{port: 80}], endpoints: [10.0.0.1]}\n\
            - {name: dns-tcp, namespace: lb, ips: [10.96.0.53], ports: [{port: 53}]}\n\
            - {name: dns-udp, namespace: lb, ips: [10.96.0.53], ports: [{port: 53, protocol: UDP}]}\n\
            - {name: headless, namespace: shop, selector: {app: db}}\n";
        let inventory = load_inventory(text, "i.yaml").expect("valid");
        let services = Services::new(&inventory.services);
        let of = |addr: &str, protocol, port| {
            let addr = addr.parse::<std::net::IpAddr>().expect("an address");
            services
                .get(Addr::from(addr), protocol, port)
                .map(|(namespace, name)| format!("{namespace}/{name}"))
        };
        for (addr, protocol, port, wanted) in [
            ("10.96.0.10", 6, 80, Some("shop/api")),
            ("10.96.0.10", 6, 81, Some("shop/api")),
            ("10.96.0.10", 1, 0, Some("shop/api")),
            ("fd00::10", 6, 80, Some("shop/api")),
            ("10.96.0.53", 6, 53, Some("lb/dns-tcp")),
            ("10.96.0.53", 17, 53, Some("lb/dns-udp")),
            ("10.96.0.53", 6, 54, None),
            ("10.0.0.1", 6, 80, None),
        ] {
            assert_eq!(of(addr, protocol, port).as_deref(), wanted, "{addr} {protocol}/{port}");
        }
        assert!(!services.is_empty() && Services::new(&[]).is_empty());
    }
}
