//! Inspection: caps, and ports whose messages are shown without a policy.

use datapath::config::L7Config;
use datapath::snapshot::{Visibility, VisiblePort};
use packet::packet::proto;
use policy::L7Kind;
use serde::{Deserialize, Serialize};

/// Longest head that may be asked for: what the splicer keeps at hand has to hold it.
const MAX_HEAD_KIB: usize = l7::inspector::MAX_UNDECIDED / 1024 - 1;

/// How messages are inspected.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct L7 {
    /// What becomes of a live connection that L7 rules come to cover.
    pub mid_stream: MidStream,
    /// Connections inspected at a time. Beyond it new ones that have to be are refused.
    pub max_connections: usize,
    /// Memory in MiB for messages that are undecided, unacknowledged, or ours to deliver. One port may use as much as is
    /// still free for all; beyond it a connection that adds to it is ended.
    #[serde(rename = "memoryMiB")]
    pub memory_mib: usize,
    /// Longest head of an HTTP message in KiB.
    #[serde(rename = "maxHeadKiB")]
    pub max_head_kib: usize,
    /// Most header fields of an HTTP message.
    pub max_headers: usize,
}

/// What becomes of a live connection that L7 rules come to cover.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MidStream {
    /// It is reset.
    #[default]
    Reset,
    /// It goes on unread.
    Pass,
}

impl Default for L7 {
    fn default() -> Self {
        let (config, settings) = (L7Config::default(), l7::Settings::default());
        Self {
            mid_stream: MidStream::Reset,
            max_connections: config.max_connections,
            memory_mib: config.max_bytes >> 20,
            max_head_kib: settings.max_head >> 10,
            max_headers: settings.max_headers,
        }
    }
}

impl L7 {
    /// The settings of the packet path that come from here, put into `config`.
    pub fn apply(&self, config: &mut L7Config) {
        config.mid_stream = match self.mid_stream {
            MidStream::Reset => datapath::config::MidStream::Reset,
            MidStream::Pass => datapath::config::MidStream::Pass,
        };
        config.max_connections = self.max_connections;
        config.max_bytes = self.memory_mib << 20;
        config.settings.max_head = self.max_head_kib << 10;
        config.settings.max_headers = self.max_headers;
    }

    /// Which value is out of range, and what it may be.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let within = |key, value: usize, least: usize, most: usize| {
            let fits = (least..=most).contains(&value);
            if fits { Ok(()) } else { Err((key, format!("must be from {least} to {most}"))) }
        };
        within("l7.maxConnections", self.max_connections, 1, 1 << 20)?;
        within("l7.memoryMiB", self.memory_mib, 1, 4096)?;
        within("l7.maxHeadKiB", self.max_head_kib, 1, MAX_HEAD_KIB)?;
        within("l7.maxHeaders", self.max_headers, 1, 1000)
    }
}

/// A port whose messages are shown without a policy that asks for it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visible {
    /// Destination port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// A protocol whose messages can be shown.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1 and HTTP/2.
    Http,
    /// Kafka.
    Kafka,
    /// DNS, over UDP and TCP.
    Dns,
    /// The server names of TLS.
    Tls,
}

/// All of them, as the packet path wants them.
#[must_use]
pub fn visibility(ports: &[Visible]) -> Visibility {
    let mut list = Vec::new();
    for &Visible { port, protocol } in ports {
        let kind = match protocol {
            Protocol::Http => L7Kind::Http,
            Protocol::Kafka => L7Kind::Kafka,
            Protocol::Dns => L7Kind::Dns,
            Protocol::Tls => L7Kind::Tls,
        };
        list.push(VisiblePort { l4_proto: proto::TCP, port, kind });
        if protocol == Protocol::Dns {
            list.push(VisiblePort { l4_proto: proto::UDP, port, kind });
        }
    }
    Visibility(list)
}
