//! The answers: what is in force, as JSON with stable keys.

use super::names::{Known, Names};
use super::report::{Report, WorkerReport, report};
use super::request::Request;
use super::{fqdns, metrics, write_line};
use crate::run::shared::{PortView, Shared};
use anyhow::{Context as _, Result};
use datapath::conntrack::Conn;
use datapath::stats::{PortStats, Stats};
use flowlog::DropReason;
use packet::Instant;
use policy::engine::directory::WorkloadKind;
use policy::{DenyReason, Direction, Endpoint, EndpointId, Identity, PolicySnapshot, RuleId, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Answers everything that is answered with one value.
///
/// # Errors
/// When what is asked for does not exist, or the worker does not answer.
pub fn answer(shared: &Shared, request: &Request) -> Result<Value> {
    let snapshot = shared.snapshot.load_full();
    let policy = &*snapshot.policy;
    Ok(match request {
        Request::Status => status(shared)?,
        Request::Endpoints => {
            policy.endpoints.iter().flatten().map(|endpoint| endpoint_value(endpoint, shared)).collect()
        }
        Request::Identities => identities(policy),
        Request::Ips => ips(policy),
        Request::Fqdns { name, endpoint } => {
            let wanted = fqdns::Wanted { name: name.as_deref(), endpoint: endpoint.as_deref() };
            fqdns::list(policy, &shared.policies(), &wanted, crate::run::fqdn::seconds(&shared.clock))
        }
        Request::Policies => shared.policies().iter().map(|policy| policy_value(policy, None)).collect(),
        Request::Policy { name } => {
            let found: Vec<Value> = shared
                .policies()
                .iter()
                .filter(|policy| full_name(&policy.namespace, &policy.name) == *name)
                .map(|policy| policy_value(policy, Some(&shared.dir)))
                .collect();
            found
                .is_empty()
                .then(|| format!("no policy {name} is in force"))
                .map_or(Ok(()), |message| Err(anyhow::anyhow!(message)))?;
            Value::Array(found)
        }
        Request::PolicyMap { endpoint } => policy_map(policy, endpoint)?,
        Request::Known => serde_json::to_value(known(shared))?,
        Request::Metrics => Value::String(metrics::text(shared)?),
        Request::AgentEvents(_) | Request::Capture(_) | Request::Conntrack { .. } | Request::Observe(_) => {
            Value::Null
        }
    })
}

/// What records can name.
fn known(shared: &Shared) -> Known {
    let origin = shared.clock.started_at.as_nanosecond();
    Names::new(&shared.snapshot.load(), origin, &shared.node).known()
}

fn status(shared: &Shared) -> Result<Value> {
    let view = shared.view();
    let mut report = report(shared)?;
    let policy = Arc::clone(&shared.snapshot.load().policy);
    let ports: Vec<Value> =
        view.ports.iter().map(|port| port_value(port, *report.stats.port(packet::PortId(port.id)))).collect();
    let endpoints = policy.endpoints.iter().flatten().count();
    let Report { stats, io, connections, inspection, chunks: (free_chunks, ..), workers, .. } = report;
    let [busy, idle, sleeps] = [0, 1, 2].map(|at| workers.iter().map(|worker| worker.polls[at]).sum::<u64>());
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "node": shared.node.name,
        "cluster": shared.node.cluster,
        "healthy": view.errors.is_empty(),
        "startedAt": shared.clock.started_at.to_string(),
        "uptimeSeconds": shared.clock.uptime().as_secs(),
        "ports": ports,
        "afxdp": {
            "rxFrames": io.rx_frames, "rxBytes": io.rx_bytes, "rxLost": io.rx_lost,
            "txFrames": io.tx_frames, "txBytes": io.tx_bytes, "txRefused": io.tx_refused, "txLost": io.tx_lost,
            "allocFailed": io.alloc_failed, "wakeups": io.wakeups, "txJoined": io.tx_joined, "freeChunks": free_chunks,
        },
        "frames": {
            "received": stats.received, "forwarded": stats.forwarded, "answered": stats.answered,
            "generated": stats.generated, "dropped": stats.dropped_total(),
        },
        "drops": drops(&stats),
        "connections": {
            "current": connections, "max": shared.max_connections,
            "opened": stats.connections_opened, "closed": stats.connections_closed, "rejudged": stats.rejudged,
        },
        "inspection": {
            "connections": inspection.connections, "waitingFrames": inspection.frames,
            "undecidedBytes": inspection.bytes, "waitingAnswers": inspection.answers,
        },
        "policy": { "epoch": policy.epoch, "endpoints": endpoints, "policies": shared.policies().len() },
        "xdp": shared.kernel_counters().map(|xdp| json!({
            "redirected": xdp.redirected, "passedNotOurs": xdp.passed_not_ours, "passedUplink": xdp.passed_uplink,
            "fallbackDropped": xdp.fallback_dropped, "fallbackPassed": xdp.fallback_passed,
            "staleHeartbeat": xdp.stale_heartbeat, "noSocket": xdp.no_socket, "unknownPort": xdp.unknown_port,
            "tooShort": xdp.too_short,
        })),
        "load": {
            "busyPolls": busy, "idlePolls": idle, "sleeps": sleeps, "occupancy": share(busy, idle),
        },
        "workers": workers.iter().map(worker_value).collect::<Vec<_>>(),
        "flowLog": shared.flows.status(),
        "errors": view.errors,
        "warnings": view.warnings,
    }))
}

fn worker_value(worker: &WorkerReport) -> Value {
    let ([busy, idle, sleeps, _], handover) = (worker.polls, worker.handover);
    json!({
        "connections": worker.connections, "occupancy": share(busy, idle), "sleeps": sleeps,
        "buckets": worker.buckets, "bucketsCame": handover.buckets, "bucketsRefused": handover.refused,
        "handedOver": handover.handed, "takenOver": handover.taken, "handoverLost": handover.lost,
    })
}

/// Which part of the polls found frames.
fn share(busy: u64, idle: u64) -> f64 {
    if busy + idle == 0 { 0.0 } else { busy as f64 / (busy + idle) as f64 }
}

/// Drops by reason, without those that never happened. Reasons that share Hubble's name are summed.
#[must_use]
pub fn drops(stats: &Stats) -> BTreeMap<&'static str, u64> {
    let mut drops = BTreeMap::new();
    for reason in DropReason::ALL {
        let count = stats.dropped_for(*reason);
        if count != 0 {
            *drops.entry(reason.hubble().0).or_default() += count;
        }
    }
    drops
}

fn port_value(port: &PortView, stats: PortStats) -> Value {
    json!({
        "id": port.id, "interface": port.interface, "owner": port.owner, "mode": port.mode, "up": port.up,
        "queues": port.queues, "worker": port.worker, "mtu": port.mtu, "peerMac": port.peer_mac,
        "rxFrames": stats.rx_frames, "rxBytes": stats.rx_bytes,
        "txFrames": stats.tx_frames, "txBytes": stats.tx_bytes, "dropped": stats.dropped,
    })
}

pub(super) fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn labels(policy: &PolicySnapshot, identity: Identity) -> Vec<String> {
    let labels = policy.directory().labels(identity);
    labels.map(|labels| labels.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn endpoint_value(endpoint: &Endpoint, shared: &Shared) -> Value {
    let snapshot = shared.snapshot.load();
    let directory = snapshot.policy.directory();
    let mut addresses: Vec<(bool, String)> = directory
        .addresses()
        .into_iter()
        .filter(|(_, workload)| {
            workload.kind == WorkloadKind::Pod
                && workload.namespace == endpoint.namespace
                && workload.name == endpoint.name
        })
        .map(|(addr, _)| (addr.is_v4(), addr.to_string()))
        .collect();
    addresses.sort();
    let family = |v4: bool| {
        addresses.iter().filter(|(is, _)| *is == v4).map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };
    let enforcement =
        |direction| match (endpoint.map.is_enforced(direction), endpoint.map.is_audited(direction)) {
            (true, true) => "Disabled (Audit)",
            (true, false) => "Enabled",
            (false, _) => "Disabled",
        };
    let port = snapshot.ports.iter().find(
        |port| matches!(&port.kind, datapath::ports::PortKind::Pod { endpoint: Some(id), .. } if *id == endpoint.id),
    );
    json!({
        "id": endpoint.id.0,
        "namespace": &*endpoint.namespace,
        "name": &*endpoint.name,
        "identity": endpoint.identity.0,
        "labels": labels(&snapshot.policy, endpoint.identity),
        "ingressEnforcement": enforcement(Direction::Ingress),
        "egressEnforcement": enforcement(Direction::Egress),
        "ipv4": family(true),
        "ipv6": family(false),
        "interface": port.map(|port| port.name.clone()),
        "state": if port.is_some() || endpoint.identity == Identity::HOST { "ready" } else { "waiting-for-interface" },
    })
}

fn identities(policy: &PolicySnapshot) -> Value {
    let mut references: BTreeMap<Identity, u64> = BTreeMap::new();
    for (_, workload) in policy.directory().addresses() {
        *references.entry(workload.identity).or_default() += 1;
    }
    for (_, identity) in learnt(policy) {
        *references.entry(identity).or_default() += 1;
    }
    let value = |(identity, _): (Identity, &policy::label::LabelSet)| {
        json!({
            "id": identity.0,
            "labels": labels(policy, identity),
            "references": references.get(&identity).copied().unwrap_or(0),
        })
    };
    policy.directory().identities().into_iter().map(value).collect()
}

fn ips(policy: &PolicySnapshot) -> Value {
    let value = |(addr, workload): (packet::Addr, &policy::engine::directory::Workload)| {
        json!({
            "ip": addr.to_string(),
            "identity": workload.identity.0,
            "source": match workload.kind {
                WorkloadKind::Pod => "pod",
                WorkloadKind::Node => "node",
                WorkloadKind::External => "external",
            },
            "name": full_name(&workload.namespace, &workload.name),
            "node": &*workload.node,
            "dnsNames": policy.directory().dns_names(addr).map(|name| &**name).collect::<Vec<_>>(),
        })
    };
    let listed = policy.directory().addresses().into_iter().map(value);
    let learnt = learnt(policy).map(|(addr, identity)| {
        let names: Vec<_> = policy.directory().dns_names(addr).map(|name| &**name).collect();
        json!({
            "ip": addr.to_string(), "identity": identity.0, "source": "fqdn", "name": names.first(), "node": "",
            "dnsNames": names,
        })
    });
    listed.chain(learnt).collect()
}

/// Addresses that have their identity from names alone.
fn learnt(policy: &PolicySnapshot) -> impl Iterator<Item = (packet::Addr, Identity)> {
    let learnt = policy.fqdn.addresses().into_iter();
    learnt.filter(|(addr, _)| policy.directory().workload(*addr).is_none())
}

/// A policy; with the text of its file when the folder is given.
fn policy_value(policy: &policy::rule::Policy, folder: Option<&Path>) -> Value {
    let mut value = json!({
        "kind": policy.kind.as_str(),
        "namespace": &*policy.namespace,
        "name": &*policy.name,
        "file": &*policy.file,
        "line": policy.line,
        "audit": policy.audit,
        "rules": policy.rules.len(),
        "labels": policy.labels.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let (Some(folder), Some(object)) = (folder, value.as_object_mut()) {
        let text = std::fs::read_to_string(folder.join(&*policy.file)).ok();
        object.insert("source".into(), json!(text));
    }
    value
}

fn policy_map(policy: &PolicySnapshot, wanted: &str) -> Result<Value> {
    let number = wanted.parse::<u16>().ok().map(EndpointId);
    let endpoint = policy
        .endpoints
        .iter()
        .flatten()
        .find(|endpoint| {
            Some(endpoint.id) == number || full_name(&endpoint.namespace, &endpoint.name) == wanted
        })
        .with_context(|| format!("no endpoint {wanted}; `sluice endpoint list` shows them"))?;
    let entries = endpoint.map.entries().map(|entry| {
        let (word, rule, l7, audited) = match entry.verdict {
            Verdict::Allow(permit) if permit.l7().is_some() => ("Redirect", permit.rule(), permit.l7(), permit.audited()),
            Verdict::Allow(permit) => ("Allow", permit.rule(), None, permit.audited()),
            Verdict::Deny(denial) => ("Deny", denial.rule, None, false),
        };
        json!({
            "policy": word,
            "direction": match entry.direction { Direction::Ingress => "Ingress", Direction::Egress => "Egress" },
            "identity": entry.peer.map(|peer| peer.0),
            "labels": entry.peer.map(|peer| labels(policy, peer)).unwrap_or_default(),
            "protocol": entry.proto.map_or("ANY".to_owned(), protocol),
            "ports": ports_text(entry.ports),
            "l7": l7.map(|set| set.0),
            "audited": audited,
            // What no rule mentions: the space between the rules, not a rule.
            "default": matches!(entry.verdict, Verdict::Deny(denial) if denial.reason == DenyReason::NoRule),
            "rules": rules_value(policy, rule),
        })
    });
    Ok(json!({
        "endpoint": endpoint.id.0,
        "namespace": &*endpoint.namespace,
        "name": &*endpoint.name,
        "identity": endpoint.identity.0,
        "entries": entries.collect::<Vec<_>>(),
    }))
}

fn rules_value(policy: &PolicySnapshot, rule: RuleId) -> Value {
    let rules = policy.rules.get(rule).iter();
    rules
        .map(|at| json!({"kind": at.kind, "policy": full_name(&at.namespace, &at.name), "file": at.file, "line": at.line}))
        .collect()
}

fn ports_text((first, last): (u16, u16)) -> String {
    match (first, last) {
        (0, u16::MAX) => "any".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// The name of an IP protocol.
#[must_use]
pub fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

/// Writes the connections, one a line, in pieces that the workers hand out between their polls.
///
/// # Errors
/// When the client or a worker goes away.
pub fn connections(shared: &Shared, limit: usize, writer: &mut impl Write) -> Result<()> {
    let mut left = limit;
    shared.workers.connections(
        |conn, now| Some((conn.clone(), now)),
        |piece| {
            for (conn, now) in piece.iter().take(left) {
                write_line(writer, &connection_value(conn, *now))?;
            }
            left = left.saturating_sub(piece.len());
            Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        },
    )
}

fn connection_value(conn: &Conn, now: Instant) -> Value {
    let key = conn.key;
    let (src, dst) = (key.src, key.dst);
    json!({
        "protocol": protocol(key.proto),
        "source": src.to_string(), "sourcePort": key.src_port,
        "destination": dst.to_string(), "destinationPort": key.dst_port,
        "state": format!("{:?}", conn.state()),
        "revoked": conn.revoked(),
        "sourceIdentity": conn.src_identity.0, "destinationIdentity": conn.dst_identity.0,
        "packets": conn.packets(), "bytes": conn.bytes(),
        "ageSeconds": now.saturating_since(conn.created()).as_secs(),
        "expiresSeconds": conn.expires().saturating_since(now).as_secs(),
        "tcpFlags": format!("{:?}", conn.flags_seen()),
        "epoch": conn.verdict.epoch, "audited": conn.audited,
        "inPort": conn.in_port.0, "outPort": conn.out_port.0,
    })
}
