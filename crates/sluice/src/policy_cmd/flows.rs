//! Flows to judge: a list of them, or what a flow log recorded.
//!
//! A recording is lines of JSON as `sluice observe -o json` and Hubble write them. Several records tell of one
//! connection, so each distinct question (ends, port, protocol, message) is asked once and knows how many records it
//! stands for. Records that are no question (replies, events of the agent, ends that the inventory does not have) are
//! counted by reason.

use anyhow::{Context as _, Result, bail, ensure};
use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts, TlsFacts};
use policy::inventory::{External, Inventory};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _};
use std::net::IpAddr;
use std::path::Path;

/// Longest line of a recording: Hubble's records are a few KiB.
const MAX_LINE: u64 = 1 << 20;
/// Largest list of flows, in bytes.
const MAX_LIST: u64 = 64 << 20;
/// Most distinct flows: a gigabyte of memory.
const MAX_FLOWS: usize = 1_000_000;

/// What a file of flows holds.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Distinct flows.
    pub list: Vec<Flow>,
    /// Records that each of them stands for.
    pub records: Vec<u64>,
    /// Records that are no question, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// Reads flows. Names that a recording has for addresses outside are added to the workloads.
///
/// # Errors
/// When the file cannot be read or a line of it is not what it must be; the error names the line.
pub(super) fn read(path: &Path, inventory: &mut Inventory) -> Result<Flows> {
    let name = path.display();
    let file = std::fs::File::open(path).with_context(|| name.to_string())?;
    let mut reader = BufReader::new(file);
    let first = first_byte(&mut reader).with_context(|| name.to_string())?;
    if first == Some(b'[') {
        let list: Vec<Flow> = serde_json::from_reader(reader.take(MAX_LIST))
            .with_context(|| format!("{name}: not a list of flows"))?;
        let records = vec![1; list.len()];
        return Ok(Flows { list, records, ignored: BTreeMap::new() });
    }
    let mut recording = Recording::new(inventory);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        ensure!(read as u64 <= MAX_LINE, "{name}:{number}: a line of more than {MAX_LINE} bytes");
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        recording.line(&line).with_context(|| format!("{name}:{number}"))?;
    }
    Ok(recording.finish(inventory))
}

/// Skips white space and looks at what follows.
fn first_byte(reader: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = reader.fill_buf()?;
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        // What is left in the buffer is read again as lines.
        match buffer.get(blank) {
            Some(byte) => return Ok(Some(*byte)),
            None if buffer.is_empty() => return Ok(None),
            None if blank > 64 * 1024 => return Ok(None),
            None => reader.consume(blank),
        }
    }
}

/// Flows so far, without their names.
struct Recording {
    pods: BTreeSet<(String, String)>,
    nodes: BTreeSet<IpAddr>,
    services: BTreeSet<IpAddr>,
    flows: BTreeMap<Flow, u64>,
    ignored: BTreeMap<&'static str, u64>,
    names: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// A record that is no question, and why.
struct Ignored(&'static str);

impl Recording {
    fn new(inventory: &Inventory) -> Self {
        let pods = inventory.pods.iter().map(|pod| (pod.namespace.to_string(), pod.name.to_string()));
        let addresses = inventory.pods.iter().flat_map(|pod| &pod.ips);
        Self {
            pods: pods.collect(),
            nodes: addresses.chain(inventory.nodes.iter().flat_map(|node| &node.ips)).copied().collect(),
            services: inventory.services.iter().flat_map(|service| &service.ips).copied().collect(),
            flows: BTreeMap::new(),
            ignored: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let value: Value = serde_json::from_slice(line).context("not a line of JSON")?;
        let Some(object) = value.as_object() else { bail!("not a record: a JSON object is expected") };
        let record = match object.get("flow") {
            Some(record) => record,
            None if object.contains_key("error") => bail!("the recording ends with an error: {value}"),
            None if ["lost_events", "agent_event", "debug_event", "node_status"]
                .iter()
                .any(|key| object.contains_key(*key)) =>
            {
                self.ignore("not a flow");
                return Ok(());
            }
            None if object.contains_key("IP")
                || object.contains_key("l4")
                || object.contains_key("verdict") =>
            {
                &value
            }
            None => bail!("not a record of a flow log: neither `flow` nor another known kind"),
        };
        match self.flow(record) {
            Ok(flow) => {
                self.note_names(record);
                *self.flows.entry(flow).or_default() += 1;
                ensure!(self.flows.len() <= MAX_FLOWS, "more than {MAX_FLOWS} different flows");
            }
            Err(Ignored(why)) => self.ignore(why),
        }
        Ok(())
    }

    fn ignore(&mut self, why: &'static str) {
        *self.ignored.entry(why).or_default() += 1;
    }

    /// The question that a record answers.
    fn flow(&self, record: &Value) -> Result<Flow, Ignored> {
        let message = &record["l7"];
        if record["is_reply"] == true || message["type"] == "RESPONSE" {
            return Err(Ignored("reply"));
        }
        let extensions = &record["extensions"];
        let (proto, port) = transport(&record["l4"]).ok_or(Ignored("no transport protocol"))?;
        Ok(Flow {
            id: String::new(),
            src: self.end(record, "source")?,
            dst: self.end(record, "destination")?,
            proto: proto.to_owned(),
            port,
            http: http(&message["http"]),
            dns: text(&message["dns"]["query"]).map(|name| DnsFacts { name: name.to_owned() }),
            kafka: kafka(&message["kafka"], extensions),
            tls: extensions
                .get("tls")
                .filter(|hello| hello.is_object())
                .map(|hello| TlsFacts { server_name: text(&hello["server_name"]).map(str::to_owned) }),
        })
    }

    fn end(&self, record: &Value, side: &str) -> Result<String, Ignored> {
        let end = &record[side];
        if let (Some(namespace), Some(name)) = (text(&end["namespace"]), text(&end["pod_name"])) {
            let known = self.pods.contains(&(namespace.to_owned(), name.to_owned()));
            return known
                .then(|| format!("pod/{namespace}/{name}"))
                .ok_or(Ignored("a pod that the inventory does not have"));
        }
        let labels = end["labels"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reserved = labels.iter().filter_map(|label| label.as_str()?.strip_prefix("reserved:"));
        for name in reserved {
            if let "health" | "ingress" | "init" | "unmanaged" = name {
                return Ok(format!("reserved/{name}"));
            }
        }
        let ip: Option<IpAddr> = text(&record["IP"][side]).and_then(|ip| ip.parse().ok());
        let ip = ip.ok_or(Ignored("no address"))?;
        if self.services.contains(&ip) {
            return Err(Ignored("the address of a service, before translation"));
        }
        Ok(format!("ip/{ip}"))
    }

    /// What the flow log calls addresses outside.
    fn note_names(&mut self, record: &Value) {
        for (side, key) in [("source", "source_names"), ("destination", "destination_names")] {
            let Some(ip) = text(&record["IP"][side]).and_then(|ip| ip.parse().ok()) else { continue };
            if self.nodes.contains(&ip) {
                continue;
            }
            let names = record[key].as_array().map(Vec::as_slice).unwrap_or_default();
            self.names.entry(ip).or_default().extend(names.iter().filter_map(text).map(str::to_owned));
        }
    }

    fn finish(self, inventory: &mut Inventory) -> Flows {
        let named = self.names.into_iter().filter(|(_, names)| !names.is_empty());
        inventory.external.extend(named.map(|(ip, names)| External {
            name: ip.to_string().into(),
            ip,
            dns_names: names.iter().map(|name| name.as_str().into()).collect(),
            kube_api_server: false,
            line: 0,
        }));
        let mut flows = Flows { ignored: self.ignored, ..Flows::default() };
        for (number, (flow, records)) in (1..).zip(self.flows) {
            flows.list.push(Flow { id: format!("f{number}"), ..flow });
            flows.records.push(records);
        }
        flows
    }
}

/// A text that says something.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Null => Some(0),
        other => other.as_u64().and_then(|number| number.try_into().ok()),
    }
}

/// Protocol and destination port, or ICMP type (which is left out of a record where it is 0).
fn transport(l4: &Value) -> Option<(&'static str, u16)> {
    for name in ["TCP", "UDP", "SCTP"] {
        if let Some(ports) = l4.get(name) {
            return Some((name, number(&ports["destination_port"]).filter(|port| *port != 0)?));
        }
    }
    for (key, name) in [("ICMPv4", "ICMP"), ("ICMPv6", "ICMPv6")] {
        if let Some(icmp) = l4.get(key) {
            return Some((name, number(&icmp["type"])?));
        }
    }
    None
}

/// The URL is absolute (`http://host:port/path?query`), or a path.
fn http(http: &Value) -> Option<HttpFacts> {
    let method = text(&http["method"])?.to_owned();
    let url = text(&http["url"]).unwrap_or_default();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let fields = http["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let field = |field: &Value| Some((text(&field["key"])?.to_owned(), field["value"].as_str()?.to_owned()));
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in fields.iter().filter_map(field) {
        headers
            .entry(name)
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    Some(HttpFacts { method, path: path.to_owned(), host: host.to_owned(), headers })
}

fn kafka(kafka: &Value, extensions: &Value) -> Option<KafkaFacts> {
    let key = &kafka["api_key"];
    let api_key = match text(key) {
        Some(name) => policy::document::kafka_api_key(name).or_else(|| name.parse().ok())?,
        None => key.as_i64()?.try_into().ok()?,
    };
    let several = extensions["kafka_topics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut topics: Vec<String> = several.iter().filter_map(text).map(str::to_owned).collect();
    if topics.is_empty() {
        topics.extend(text(&kafka["topic"]).map(str::to_owned));
    }
    Some(KafkaFacts {
        api_key,
        api_version: kafka["api_version"].as_i64().and_then(|version| version.try_into().ok()).unwrap_or(0),
        client_id: text(&extensions["kafka_client_id"]).unwrap_or_default().to_owned(),
        topics,
    })
}

#[cfg(test)]
mod tests;
