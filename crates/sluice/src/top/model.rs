//! What was seen between looks, bounded, and the picture of it.

use crate::show;
use flowlog::Record;
use flowlog::record::{L4, L7Type, Verdict, message_type};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Seconds that rates of records are averaged over.
const WINDOW: Duration = Duration::from_secs(10);

/// Rows of each kind kept at a time. When there are more, the one that was quiet longest goes.
const MAX_ROWS: usize = 2_000;

/// Latencies kept of one service.
const LATENCIES: usize = 512;

/// One connection as the connection table tells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Connection {
    /// Names the connection: protocol, both ends, as text.
    pub(super) id: String,
    /// Who began it, whom to, port and protocol.
    pub(super) flow: [String; 3],
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What the node says of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    pub(super) node: String,
    pub(super) healthy: bool,
    pub(super) received: u64,
    pub(super) forwarded: u64,
    pub(super) dropped: u64,
    pub(super) connections: u64,
    /// Part of the polls that found frames.
    pub(super) occupancy: f64,
    /// Records that the flow log had no room for.
    pub(super) shed: u64,
    pub(super) errors: Vec<String>,
}

/// How flows are ordered.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Bytes,
    Packets,
}

/// A count with the looks it was made in, newest last.
#[derive(Clone, Debug, Default)]
struct Recent(VecDeque<(u64, u64)>);

impl Recent {
    fn add(&mut self, look: u64, count: u64) {
        match self.0.back_mut() {
            Some((at, so_far)) if *at == look => *so_far += count,
            _ => self.0.push_back((look, count)),
        }
    }

    fn since(&mut self, first: u64) -> u64 {
        while self.0.front().is_some_and(|(look, _)| *look < first) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn last(&self) -> u64 {
        self.0.back().map_or(0, |(look, _)| *look)
    }
}

#[derive(Clone, Debug, Default)]
struct Service {
    requests: Recent,
    refused: Recent,
    failed: Recent,
    latencies: VecDeque<u64>,
}

/// Everything seen.
#[derive(Debug, Default)]
pub(super) struct Model {
    look: u64,
    /// How long each look took since the one before; the newest last.
    lengths: VecDeque<Duration>,
    health: [Health; 2],
    before: BTreeMap<String, (u64, u64)>,
    flows: BTreeMap<[String; 3], (u64, u64)>,
    drops: BTreeMap<[String; 5], Recent>,
    services: BTreeMap<[String; 2], Service>,
    lost: u64,
    order: Order,
}

impl Model {
    /// A new look begins, `since` the last one.
    pub(super) fn begin(&mut self, since: Duration, health: Health) {
        self.look += 1;
        self.lengths.push_back(since);
        while self.lengths.len() > 1 && self.lengths.iter().sum::<Duration>() > WINDOW {
            self.lengths.pop_front();
        }
        self.health.swap(0, 1);
        self.health[1] = health;
    }

    /// All connections there are now.
    pub(super) fn connections(&mut self, all: impl IntoIterator<Item = Connection>) {
        let first = self.before.is_empty() && self.look <= 1;
        let mut now = BTreeMap::new();
        self.flows.clear();
        for Connection { id, flow, packets, bytes } in all {
            let (old_packets, old_bytes) = match self.before.get(&id) {
                // One that was closed and made anew counts from nothing.
                Some(&(p, b)) if p <= packets && b <= bytes => (p, b),
                _ if first => (packets, bytes),
                _ => (0, 0),
            };
            let sums = self.flows.entry(flow).or_default();
            sums.0 += packets - old_packets;
            sums.1 += bytes - old_bytes;
            now.insert(id, (packets, bytes));
        }
        self.before = now;
    }

    /// A record that came since the last look.
    pub(super) fn record(&mut self, record: &Record) {
        let look = self.look + 1;
        if let Some(l7) = &record.l7 {
            let (service, what) = message(record);
            let service = bounded(&mut self.services, [service, what], |service| service.requests.last());
            match l7.kind {
                L7Type::Response => {
                    service.latencies.push_back(l7.latency_ns);
                    if service.latencies.len() > LATENCIES {
                        service.latencies.pop_front();
                    }
                    service.failed.add(look, u64::from(failed(record)));
                }
                _ => {
                    service.requests.add(look, 1);
                    service.refused.add(look, u64::from(record.verdict == Verdict::Dropped));
                }
            }
        }
        if record.verdict != Verdict::Dropped || record.event_kind() == message_type::POLICY_VERDICT {
            return;
        }
        let key = [
            peer(record, true),
            peer(record, false),
            port(record),
            record.drop_reason_desc.clone(),
            because(record),
        ];
        bounded(&mut self.drops, key, Recent::last).add(look, 1);
    }

    /// Records that this reader was too slow for.
    pub(super) fn lost(&mut self, records: u64) {
        self.lost += records;
    }

    pub(super) fn sort_by_next(&mut self) {
        self.order = if self.order == Order::Bytes { Order::Packets } else { Order::Bytes };
    }

    /// What is to be shown, with at most `rows` rows a table.
    pub(super) fn picture(&mut self, rows: usize) -> Picture {
        let first = (self.look + 1).saturating_sub(self.lengths.len() as u64);
        // The first look has nothing before it.
        let seconds = self.lengths.iter().sum::<Duration>().as_secs_f64().max(0.001);
        let last = self.lengths.back().map_or(0.001, |length| length.as_secs_f64().max(0.001));
        let [old, new] = &self.health;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / last;
        let rates = if old.node.is_empty() {
            [0.0; 2]
        } else {
            [rate(new.received, old.received), rate(new.dropped, old.dropped)]
        };
        let mut flows: Vec<FlowRow> = self
            .flows
            .iter()
            .filter(|(_, (packets, _))| *packets > 0)
            .map(|([from, to, port], (packets, bytes))| FlowRow {
                from: from.clone(),
                to: to.clone(),
                port: port.clone(),
                packets_per_second: *packets as f64 / last,
                bits_per_second: *bytes as f64 * 8.0 / last,
            })
            .collect();
        let order = self.order;
        let weight = |row: &FlowRow| match order {
            Order::Bytes => row.bits_per_second,
            Order::Packets => row.packets_per_second,
        };
        flows.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        flows.truncate(rows);
        let mut drops: Vec<DropRow> = self
            .drops
            .iter_mut()
            .map(|([from, to, port, reason, rule], recent)| DropRow {
                from: from.clone(),
                to: to.clone(),
                port: port.clone(),
                reason: reason.clone(),
                rule: rule.clone(),
                per_second: recent.since(first) as f64 / seconds,
            })
            .filter(|row| row.per_second > 0.0)
            .collect();
        drops.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        drops.truncate(rows);
        let mut requests: Vec<RequestRow> = self
            .services
            .iter_mut()
            .filter_map(|(key, service)| request(key, service, first, seconds))
            .collect();
        requests.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        let requests_per_second = requests.iter().map(|row| row.per_second).sum();
        requests.truncate(rows);
        Picture {
            health: new.clone(),
            frames_per_second: rates[0],
            drops_per_second: rates[1],
            requests_per_second,
            lost: self.lost,
            order,
            flows,
            drops,
            requests,
        }
    }
}

fn request([service, what]: &[String; 2], of: &mut Service, first: u64, seconds: f64) -> Option<RequestRow> {
    let requests = of.requests.since(first);
    if requests == 0 {
        return None;
    }
    let mut sorted: Vec<u64> = of.latencies.iter().copied().collect();
    sorted.sort_unstable();
    let at =
        |percent: usize| sorted.get((sorted.len().max(1) - 1) * percent / 100).map(|ns| *ns as f64 / 1e6);
    Some(RequestRow {
        to: service.clone(),
        what: what.clone(),
        per_second: requests as f64 / seconds,
        refused_per_second: of.refused.since(first) as f64 / seconds,
        failed_per_second: of.failed.since(first) as f64 / seconds,
        p50_ms: at(50),
        p99_ms: at(99),
    })
}

/// The entry of `key`; if there are too many, in the place of the one that was quiet longest.
fn bounded<K: Ord + Clone, V: Default>(map: &mut BTreeMap<K, V>, key: K, last: impl Fn(&V) -> u64) -> &mut V {
    if map.len() >= MAX_ROWS && !map.contains_key(&key) {
        let quiet = map.iter().min_by_key(|(_, value)| last(value)).map(|(key, _)| key.clone());
        quiet.and_then(|key| map.remove(&key));
    }
    map.entry(key).or_default()
}

/// Whom a message is to, and what kind it is. Responses have the server as their source.
fn message(record: &Record) -> (String, String) {
    let response = record.l7.as_ref().is_some_and(|l7| l7.kind == L7Type::Response);
    let what = match record.l7.as_ref() {
        Some(l7) if l7.http.is_some() => {
            let http = l7.http.as_ref();
            format!("{} {}", http.map_or("", |http| &http.protocol), http.map_or("", |http| &http.method))
        }
        Some(l7) if l7.kafka.is_some() => {
            format!("Kafka {}", l7.kafka.as_ref().map_or("", |kafka| &kafka.api_key))
        }
        Some(l7) if l7.dns.is_some() => "DNS".to_owned(),
        _ => "TLS".to_owned(),
    };
    (peer(record, response), what)
}

/// Whether a response says that it did not work.
fn failed(record: &Record) -> bool {
    record.l7.as_ref().is_some_and(|l7| {
        l7.http.as_ref().is_some_and(|http| http.code >= 500)
            || l7.kafka.as_ref().is_some_and(|kafka| kafka.error_code != 0)
            || l7.dns.as_ref().is_some_and(|dns| dns.rcode != 0)
    })
}

fn peer(record: &Record, source: bool) -> String {
    let (endpoint, names) = if source {
        (record.source.as_ref(), &record.source_names)
    } else {
        (record.destination.as_ref(), &record.destination_names)
    };
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.pod_name.is_empty()) {
        return format!("{}/{}", endpoint.namespace, endpoint.pod_name);
    }
    if let Some(name) = names.first() {
        return name.clone();
    }
    let address = record.ip.as_ref().map(|ip| if source { &ip.source } else { &ip.destination });
    address.cloned().unwrap_or_default()
}

fn port(record: &Record) -> String {
    let Some(l4) = &record.l4 else { return String::new() };
    let protocol = match l4 {
        L4::Tcp(_) => "TCP",
        L4::Udp(_) => "UDP",
        L4::Sctp(_) => "SCTP",
        L4::Icmpv4(_) => "ICMPv4",
        L4::Icmpv6(_) => "ICMPv6",
        L4::Vrrp(_) => "VRRP",
        L4::Igmp(_) => "IGMP",
    };
    l4.ports().map_or_else(|| protocol.to_owned(), |(_, to)| format!("{to}/{protocol}"))
}

/// The rule that decided, or who switched default deny on.
fn because(record: &Record) -> String {
    let Some(extra) = &record.extensions else { return String::new() };
    let rule = extra.rules.iter().map(|rule| format!("{}:{}", rule.file, rule.line)).next();
    let deny = || extra.default_deny.as_ref().map(|deny| format!("default deny, {}", deny.side));
    rule.or_else(deny).unwrap_or_default()
}

/// One look's worth.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Picture {
    pub(super) health: Health,
    pub(super) frames_per_second: f64,
    pub(super) drops_per_second: f64,
    pub(super) requests_per_second: f64,
    /// Records that were lost on the way here.
    pub(super) lost: u64,
    pub(super) order: Order,
    pub(super) flows: Vec<FlowRow>,
    pub(super) drops: Vec<DropRow>,
    pub(super) requests: Vec<RequestRow>,
}

/// Who speaks to whom.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlowRow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) port: String,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
}

/// What is refused.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DropRow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) port: String,
    pub(super) reason: String,
    pub(super) rule: String,
    pub(super) per_second: f64,
}

/// What is asked of a service.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestRow {
    pub(super) to: String,
    pub(super) what: String,
    pub(super) per_second: f64,
    pub(super) refused_per_second: f64,
    pub(super) failed_per_second: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

impl Picture {
    /// Title, head and rows of each table.
    pub(super) fn tables(&self) -> [(&'static str, Vec<&'static str>, Vec<Vec<String>>); 3] {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let flows = self.flows.iter().map(|row| {
            let packets = format!("{:.0}", row.packets_per_second);
            vec![row.from.clone(), row.to.clone(), row.port.clone(), packets, bits(row.bits_per_second)]
        });
        let requests = self.requests.iter().map(|row| {
            vec![
                row.to.clone(),
                row.what.clone(),
                format!("{:.1}", row.per_second),
                format!("{:.1}", row.refused_per_second),
                format!("{:.1}", row.failed_per_second),
                ms(row.p50_ms),
                ms(row.p99_ms),
            ]
        });
        let drops = self.drops.iter().map(|row| {
            vec![
                format!("{:.1}", row.per_second),
                row.from.clone(),
                row.to.clone(),
                row.port.clone(),
                row.reason.clone(),
                row.rule.clone(),
            ]
        });
        [
            ("Flows", vec!["FROM", "TO", "PORT", "PACKETS/S", "BIT/S"], flows.collect()),
            (
                "Requests",
                vec!["TO", "WHAT", "PER SECOND", "REFUSED/S", "FAILED/S", "P50 MS", "P99 MS"],
                requests.collect(),
            ),
            ("Drops", vec!["PER SECOND", "FROM", "TO", "PORT", "REASON", "BECAUSE OF"], drops.collect()),
        ]
    }

    /// The first line.
    pub(super) fn head(&self) -> String {
        let health = &self.health;
        format!(
            "{} {}: {:.0} frames/s, {:.0} drops/s, {:.0} requests/s, {} connections, worker {:.0}% busy, {} shed, {} lost here",
            health.node,
            if health.healthy { "Ok" } else { "Degraded" },
            self.frames_per_second,
            self.drops_per_second,
            self.requests_per_second,
            health.connections,
            health.occupancy * 100.0,
            health.shed,
            self.lost
        )
    }

    /// As plain tables.
    pub(super) fn text(&self) -> String {
        let mut text = self.head() + "\n";
        for error in &self.health.errors {
            text.push_str(&format!("error: {error}\n"));
        }
        for (title, head, rows) in self.tables() {
            text.push_str(&format!("\n{title}\n"));
            text.push_str(&show::table(&head, rows));
        }
        text
    }
}

/// `1.2G`, `350M`, `17k`, `90`.
fn bits(value: f64) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= unit {
            return format!("{:.1}{name}", value / unit);
        }
    }
    format!("{value:.0}")
}
