//! Flows of a small shop, like the stacks in `configs/stacks`, and a node that answers about them.

#![allow(dead_code, reason = "each test, and the example, uses a part of it")]

use flowlog::Record;
use flowlog::api::{ObserveRequest, Past, Selection, Visit};
use flowlog::filter::FilterError;
use flowlog::record::{
    CloseInfo, DefaultDeny, Dns, Endpoint, EventType, Extensions, FlowType, Http, Icmp, Ip, IpVersion, Kafka,
    L4, L7Type, Layer7, Ports, Rule, Tcp, Time, TraceReasonName, TrafficDirection, Verdict, message_type,
};
use flowlog::store::Cursor;
use serde_json::{Value, json};
use std::sync::Arc;
use ui::{Considered, Node, SideExplanation};

/// 2025-11-21T10:00:00Z
const START: i128 = 1_763_719_200_000_000_000;

/// Somebody in the shop: namespace, name, label, identity, address.
pub(crate) type Who = (&'static str, &'static str, &'static str, u32, &'static str);

pub(crate) const FRONTEND: Who = ("production", "frontend-7c9d8-x2", "frontend", 256, "10.244.1.10");
const API: Who = ("production", "api-service-5f6b-q8", "api-service", 257, "10.244.1.11");
const DB: Who = ("production", "postgres-db-0", "postgres-db", 258, "10.244.1.12");
const MONITORING: Who = ("production", "monitoring-service-1", "monitoring-service", 259, "10.244.1.13");
const RECOMMENDATION: Who =
    ("production", "recommendation-service-9", "recommendation-service", 260, "10.244.1.14");
const DNS: Who = ("kube-system", "coredns-5d78-a", "kube-dns", 261, "10.244.1.15");
const PAYMENT: Who = ("production", "payment-service-2", "payment-service", 262, "10.244.1.16");
const CHECKOUT: Who = ("production", "checkout-55-b", "checkout", 263, "10.244.1.17");
const CART: Who = ("production", "cart-66-c", "cart", 264, "10.244.1.18");
const PROMETHEUS: Who = ("monitoring", "prometheus-0", "prometheus", 265, "10.244.1.19");
const KAFKA: Who = ("kafka", "kafka-0", "kafka", 266, "10.244.1.20");
const STRIPE: Who = ("", "", "", 16_777_217, "198.51.100.2");
const WORLD: Who = ("", "", "reserved:world", 2, "203.0.113.9");
const HOST: Who = ("", "", "reserved:host", 1, "10.244.1.1");

/// A pod that was not there before.
pub(crate) const fn newcomer() -> Who {
    ("production", "newcomer-1", "newcomer", 300, "10.244.1.99")
}

fn end(who: Who) -> Endpoint {
    let (namespace, pod, label, identity, _) = who;
    let labels = match (pod, label) {
        ("", "") => Vec::new(),
        ("", label) => vec![label.to_owned()],
        ("coredns-5d78-a", label) => {
            vec![format!("k8s:io.kubernetes.pod.namespace={namespace}"), format!("k8s:k8s-app={label}")]
        }
        _ => vec![format!("k8s:app={label}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")],
    };
    Endpoint { identity, namespace: namespace.into(), labels, pod_name: pod.into(), ..Endpoint::default() }
}

fn rule(name: &str, line: u32) -> Rule {
    Rule {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "production".into(),
        name: name.into(),
        file: format!("policies/{name}.yaml"),
        line,
    }
}

/// Makes records, each with a name and a time of its own.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    made: u64,
    waiting: Vec<Record>,
}

impl Shop {
    fn record(&mut self, from: Who, to: Who, protocol: &str, port: u16, verdict: Verdict) -> Record {
        self.made += 1;
        let n = self.made;
        let source_port = 30_000 + u16::try_from(n % 30_000).unwrap_or(0);
        let l4 = match protocol {
            "UDP" => L4::Udp(Ports { source_port, destination_port: port }),
            "ICMPv4" => L4::Icmpv4(Icmp { kind: 8, code: 0 }),
            _ => L4::Tcp(Tcp { source_port, destination_port: port, flags: None }),
        };
        let names = |who: Who| if who == STRIPE { vec!["api.stripe.com".to_owned()] } else { Vec::new() };
        Record {
            time: Some(Time::from_nanos(START + i128::from(n) * 5_000_000)),
            uuid: format!("00000000-0000-8000-8000-{n:012x}"),
            verdict,
            ip: Some(Ip {
                source: from.4.into(),
                destination: to.4.into(),
                version: IpVersion::V4,
                ..Ip::default()
            }),
            l4: Some(l4),
            source: Some(end(from)),
            destination: Some(end(to)),
            source_names: names(from),
            destination_names: names(to),
            flow_type: FlowType::L3L4,
            node_name: "node-1".into(),
            event_type: Some(EventType { kind: message_type::POLICY_VERDICT, sub_type: 0 }),
            traffic_direction: TrafficDirection::Ingress,
            trace_reason: TraceReasonName::New,
            is_reply: Some(false),
            summary: if protocol == "TCP" { "TCP Flags: SYN".into() } else { protocol.to_owned() },
            extensions: Some(Extensions { length: 60, epoch: 3, ..Extensions::default() }),
            ..Record::default()
        }
    }

    /// A connection that a rule allows.
    pub(crate) fn allowed(&mut self, from: Who, to: Who, protocol: &str, port: u16, by: &str) -> Record {
        let mut record = self.record(from, to, protocol, port, Verdict::Forwarded);
        if let Some(extra) = record.extensions.as_mut() {
            extra.rules = vec![rule(by, 12)];
        }
        record
    }

    /// A connection that no rule allows, or that audit mode lets pass.
    pub(crate) fn denied(
        &mut self,
        from: Who,
        to: Who,
        protocol: &str,
        port: u16,
        egress: bool,
        audit: bool,
    ) -> Record {
        let verdict = if audit { Verdict::Audit } else { Verdict::Dropped };
        let mut record = self.record(from, to, protocol, port, verdict);
        let (direction, side) = if egress {
            (TrafficDirection::Egress, "source")
        } else {
            (TrafficDirection::Ingress, "destination")
        };
        record.traffic_direction = direction;
        record.is_reply = audit.then_some(false);
        if !audit {
            record.drop_reason = 133;
            record.drop_reason_desc = "POLICY_DENIED".into();
        }
        let (way, subject, peer) = if egress { ("egress", from, to) } else { ("ingress", to, from) };
        let preposition = if egress { "to" } else { "from" };
        let name =
            |who: Who| if who.1.is_empty() { who.4.to_owned() } else { format!("{}/{}", who.0, who.1) };
        if let Some(extra) = record.extensions.as_mut() {
            extra.default_deny = Some(DefaultDeny {
                direction,
                side: side.into(),
                switched_on_by: vec![rule("default-deny-all", 9)],
                allowed_peers: vec!["k8s:app=api-service".into()],
            });
            let (subject, peer) = (name(subject), name(peer));
            extra.hint =
                Some(format!("no {way} rule of {subject} allows {port}/{protocol} {preposition} {peer}"));
        }
        record
    }

    fn message(&mut self, mut record: Record, l7: Layer7, summary: &str) -> Record {
        record.event_type = Some(EventType { kind: message_type::L7, sub_type: 0 });
        record.flow_type = FlowType::L7;
        record.summary = summary.into();
        record.l7 = Some(l7);
        record
    }

    /// An HTTP request and, unless refused, its response.
    pub(crate) fn http(&mut self, from: Who, method: &str, path: &str, code: u32) -> Vec<Record> {
        let refused = code == 403;
        let url = format!("http://api-service:8080{path}");
        let http =
            Http { method: method.into(), url: url.clone(), protocol: "HTTP/1.1".into(), ..Http::default() };
        let verdict = if refused { Verdict::Dropped } else { Verdict::Forwarded };
        let mut record = self.record(from, API, "TCP", 8080, verdict);
        if let Some(extra) = record.extensions.as_mut() {
            extra.rules = vec![rule("allow-frontend-to-api", 17)];
        }
        if refused {
            record.drop_reason = 133;
            record.drop_reason_desc = "POLICY_DENIED".into();
        }
        let l7 = Layer7 { kind: L7Type::Request, http: Some(http.clone()), ..Layer7::default() };
        let request = self.message(record, l7, &format!("HTTP/1.1 {method} {url}"));
        if refused {
            return vec![request];
        }
        let mut answer = self.record(from, API, "TCP", 8080, Verdict::Forwarded);
        std::mem::swap(&mut answer.source, &mut answer.destination);
        if let Some(ip) = answer.ip.as_mut() {
            std::mem::swap(&mut ip.source, &mut ip.destination);
        }
        if let Some(L4::Tcp(tcp)) = answer.l4.as_mut() {
            std::mem::swap(&mut tcp.source_port, &mut tcp.destination_port);
        }
        answer.is_reply = Some(true);
        let l7 = Layer7 {
            kind: L7Type::Response,
            latency_ns: 4_200_000,
            http: Some(Http { code, ..http }),
            ..Layer7::default()
        };
        let answer = self.message(answer, l7, &format!("HTTP/1.1 {code} 4ms ({method} {url})"));
        vec![request, answer]
    }

    fn dns(&mut self, from: Who, name: &str, verdict: Verdict) -> Record {
        let record = self.record(from, DNS, "UDP", 53, verdict);
        let dns = Dns { query: format!("{name}."), qtypes: vec!["A".into()], ..Dns::default() };
        let l7 = Layer7 { kind: L7Type::Request, dns: Some(dns), ..Layer7::default() };
        self.message(record, l7, &format!("DNS Query {name}. A"))
    }

    fn kafka(&mut self, from: Who, what: &str, topic: &str, verdict: Verdict) -> Record {
        let record = self.record(from, KAFKA, "TCP", 9092, verdict);
        let kafka = Kafka { api_key: what.into(), topic: topic.into(), ..Kafka::default() };
        let l7 = Layer7 { kind: L7Type::Request, kafka: Some(kafka), ..Layer7::default() };
        self.message(record, l7, &format!("Kafka request {what} correlation id 1 topic '{topic}'"))
    }

    fn grpc(&mut self, from: Who, to: Who, method: &str) -> Record {
        let record = self.record(from, to, "TCP", 7070, Verdict::Forwarded);
        let url = format!("http://cart:7070/{method}");
        let http =
            Http { method: "POST".into(), url: url.clone(), protocol: "HTTP/2".into(), ..Http::default() };
        let l7 = Layer7 { kind: L7Type::Request, http: Some(http), ..Layer7::default() };
        self.message(record, l7, &format!("HTTP/2 POST {url}"))
    }

    /// Everything once, in a fixed order.
    pub(crate) fn story(&mut self) -> Vec<Record> {
        let mut story = vec![
            self.dns(FRONTEND, "api-service.production.svc.cluster.local", Verdict::Forwarded),
            self.allowed(FRONTEND, API, "TCP", 8080, "allow-frontend-to-api"),
        ];
        if let Some(record) = story.last_mut() {
            record.verdict = Verdict::Redirected;
        }
        story.extend(self.http(FRONTEND, "GET", "/api/v1/products", 200));
        story.extend(self.http(FRONTEND, "POST", "/api/v1/orders", 201));
        story.extend(self.http(FRONTEND, "GET", "/api/v1/admin/metrics", 403));
        story.extend(self.http(MONITORING, "GET", "/api/v1/admin/metrics", 200));
        let db = self.allowed(API, DB, "TCP", 5432, "allow-api-to-db");
        let mut close = self.record(API, DB, "TCP", 5432, Verdict::Traced);
        close.event_type = Some(EventType { kind: message_type::CLOSE, sub_type: 0 });
        close.summary = "12 packets 1840 bytes sent, 10 packets 9210 bytes received, 0.182s".into();
        if let Some(extra) = close.extensions.as_mut() {
            extra.close = Some(CloseInfo {
                reason: "finished".into(),
                packets: [12, 10],
                bytes: [1840, 9210],
                duration_ns: 182_000_000,
            });
        }
        story.extend([db, close]);
        for _ in 0..3 {
            story.push(self.denied(FRONTEND, DB, "TCP", 5432, true, false));
        }
        story.push(self.denied(RECOMMENDATION, API, "TCP", 8080, false, false));
        story.push(self.dns(PAYMENT, "api.stripe.com", Verdict::Forwarded));
        story.push(self.allowed(PAYMENT, STRIPE, "TCP", 443, "payment-service"));
        story.push(self.denied(PAYMENT, WORLD, "TCP", 443, true, false));
        story.push(self.allowed(FRONTEND, CHECKOUT, "TCP", 7070, "checkout"));
        story.push(self.grpc(FRONTEND, CHECKOUT, "shop.Checkout/PlaceOrder"));
        story.push(self.grpc(CHECKOUT, CART, "shop.Cart/GetItems"));
        story.push(self.grpc(CHECKOUT, CART, "shop.Cart/Empty"));
        story.push(self.denied(CART, CHECKOUT, "TCP", 7070, false, true));
        story.push(self.allowed(CHECKOUT, PAYMENT, "TCP", 8443, "payment-service"));
        story.push(self.kafka(CHECKOUT, "produce", "orders", Verdict::Forwarded));
        story.push(self.kafka(CHECKOUT, "fetch", "audit-log", Verdict::Dropped));
        story.push(self.allowed(PROMETHEUS, API, "TCP", 9090, "allow-prometheus"));
        story.push(self.allowed(HOST, FRONTEND, "TCP", 8080, "kubelet-probes"));
        story.push(self.allowed(WORLD, FRONTEND, "TCP", 443, "allow-ingress"));
        story.push(self.allowed(MONITORING, FRONTEND, "ICMPv4", 0, "allow-ping"));
        story
    }

    /// One after the other, for ever.
    pub(crate) fn next(&mut self) -> Record {
        if self.waiting.is_empty() {
            self.waiting = self.story();
            self.waiting.reverse();
        }
        self.waiting.pop().unwrap_or_default()
    }
}

/// Answers like [`Answers`], and keeps every record.
#[derive(Debug, Default)]
pub(crate) struct Keeper(pub(crate) Vec<Arc<Record>>);

impl Node for Keeper {
    fn status(&self) -> Value {
        Answers.status()
    }

    fn explain(&self, record: &Record) -> Result<Vec<SideExplanation>, String> {
        Answers.explain(record)
    }

    fn suggest(&self, flows: &[Arc<Record>]) -> Result<String, String> {
        Answers.suggest(flows)
    }

    fn past(&self) -> Option<&dyn Past> {
        Some(self)
    }
}

impl Past for Keeper {
    fn read(&self, _: &ObserveRequest, _: &dyn Fn() -> bool, _: Visit<'_>) -> Result<Cursor, FilterError> {
        unreachable!("the page reads newest first")
    }

    fn newest(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<(), FilterError> {
        let selection = Selection::new(request)?;
        let matching = self.0.iter().rev().filter(|record| selection.matches(record));
        for record in matching {
            if stop() || visit(Arc::clone(record)).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Answers as the node service would.
#[derive(Debug)]
pub(crate) struct Answers;

impl Node for Answers {
    fn status(&self) -> Value {
        json!({ "node": "node-1", "ready": true })
    }

    fn explain(&self, record: &Record) -> Result<Vec<SideExplanation>, String> {
        let subject = record
            .source
            .as_ref()
            .map_or_else(String::new, |end| format!("{}/{}", end.namespace, end.pod_name));
        let denied = record.verdict == Verdict::Dropped;
        Ok(vec![SideExplanation {
            direction: "egress".into(),
            subject,
            verdict: if denied { "denied" } else { "allowed" }.into(),
            decided_by: vec![rule("default-deny-all", 9)],
            considered: vec![
                Considered {
                    rule: rule("allow-dns-lookup", 8),
                    matches: false,
                    outcome: "allow rule, neither peer nor port matches".into(),
                },
                Considered {
                    rule: rule("allow-frontend-to-api", 28),
                    matches: false,
                    outcome: "allow rule, neither peer nor port matches".into(),
                },
            ],
            change: "add an egress rule to a policy that selects app=frontend".into(),
        }])
    }

    fn suggest(&self, flows: &[Arc<Record>]) -> Result<String, String> {
        let first = flows.first().ok_or("no flows")?;
        let label = |end: &Option<Endpoint>| -> String {
            let labels = end.as_ref().map(|end| end.labels.clone()).unwrap_or_default();
            let app = labels.iter().find_map(|label| label.strip_prefix("k8s:app=").map(str::to_owned));
            app.unwrap_or_else(|| "world".into())
        };
        let port = first.l4.as_ref().and_then(L4::ports).map_or(0, |ports| ports.1);
        let (from, to) = (label(&first.source), label(&first.destination));
        Ok(format!(
            "# {count} flows\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: {from}-to-{to}\n  \
             namespace: production\nspec:\n  endpointSelector:\n    matchLabels:\n      app: {from}\n  egress:\n    - toEndpoints:\n        \
             - matchLabels:\n            app: {to}\n      toPorts:\n        - ports:\n            - {{port: \"{port}\", protocol: TCP}}\n",
            count = flows.len(),
        ))
    }
}
