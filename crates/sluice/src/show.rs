//! Answers as tables for people.

use crate::logging::colours;
use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::IsTerminal;

/// Marks what is wrong, where colours are wanted.
pub fn bad(text: &str, stream: &impl IsTerminal) -> String {
    if colours(stream) { text.red().bold().to_string() } else { text.to_owned() }
}

/// Marks what is right.
pub fn good(text: &str, stream: &impl IsTerminal) -> String {
    if colours(stream) { text.green().to_string() } else { text.to_owned() }
}

/// A table without lines, as `kubectl` prints them.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().fold(String::new(), |mut text, line| {
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

/// A field as text: strings without quotes, lists joined, nothing as `-`.
fn text(value: &Value, key: &str) -> String {
    plain(value.get(key).unwrap_or(&Value::Null))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn rows<'a>(value: &'a Value, keys: &'a [&'a str]) -> impl Iterator<Item = Vec<String>> + 'a {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(move |item| keys.iter().map(|key| text(item, key)).collect())
}

/// `sluice endpoint list`.
#[must_use]
pub fn endpoints(value: &Value) -> String {
    let head = [
        "ENDPOINT",
        "NAME",
        "POLICY (ingress)",
        "POLICY (egress)",
        "IDENTITY",
        "LABELS",
        "IPv6",
        "IPv4",
        "STATUS",
    ];
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |item: &Value| {
        let name = match text(item, "namespace").as_str() {
            "-" => text(item, "name"),
            namespace => format!("{namespace}/{}", text(item, "name")),
        };
        let mut row = vec![text(item, "id"), name];
        let keys = ["ingressEnforcement", "egressEnforcement", "identity"];
        row.extend(keys.iter().map(|key| text(item, key)));
        row.push(labels(item));
        row.extend(["ipv6", "ipv4", "state"].iter().map(|key| text(item, key)));
        row
    };
    table(&head, list.iter().map(row))
}

/// `sluice identity list`.
#[must_use]
pub fn identities(value: &Value) -> String {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |item: &Value| vec![text(item, "id"), labels(item), text(item, "references")];
    table(&["ID", "LABELS", "REFCOUNT"], list.iter().map(row))
}

/// The labels that tell workloads apart: without those that follow from the namespace and the cluster, which would
/// fill the screen. `-o json` has them all.
fn labels(item: &Value) -> String {
    const IMPLIED: [&str; 2] = ["k8s:io.cilium.k8s.namespace.labels.", "k8s:io.cilium.k8s.policy.cluster="];
    let all = text(item, "labels");
    let told: Vec<_> =
        all.split(',').filter(|label| !IMPLIED.iter().any(|prefix| label.starts_with(prefix))).collect();
    told.join(",")
}

/// `sluice ip list`.
#[must_use]
pub fn ips(value: &Value) -> String {
    table(
        &["IP", "IDENTITY", "SOURCE", "NAME", "NODE"],
        rows(value, &["ip", "identity", "source", "name", "node"]),
    )
}

/// `sluice fqdn list`: a line for each address.
#[must_use]
pub fn fqdns(value: &Value) -> String {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = list.iter().flat_map(|item| {
        let addresses = item["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        addresses.iter().map(move |address| {
            let ttl = format!("{}s", text(address, "ttlSeconds"));
            let mut row = vec![text(item, "name"), text(address, "ip"), text(address, "identity"), ttl];
            row.push(text(address, "state"));
            row.extend(["conditions", "policies", "endpoint", "lastSeen"].iter().map(|key| text(item, key)));
            row
        })
    });
    let head =
        ["NAME", "IP", "IDENTITY", "TTL", "STATE", "CONDITIONS", "POLICIES", "FIRST ASKED BY", "LAST SEEN"];
    table(&head, rows)
}

/// `sluice policy list`.
#[must_use]
pub fn policies(value: &Value) -> String {
    let head = ["KIND", "NAMESPACE", "NAME", "RULES", "FILE", "LINE"];
    table(&head, rows(value, &["kind", "namespace", "name", "rules", "file", "line"]))
}

/// `sluice policy get`.
#[must_use]
pub fn policy(value: &Value) -> String {
    let mut out = String::new();
    for item in value.as_array().map(Vec::as_slice).unwrap_or_default() {
        let _ = writeln!(
            out,
            "{} {}  ({}:{})",
            text(item, "kind"),
            text(item, "name"),
            text(item, "file"),
            text(item, "line")
        );
        let _ = writeln!(out, "{}", text(item, "source").trim_end());
    }
    out
}

/// `sluice policy map`.
#[must_use]
pub fn policy_map(value: &Value) -> String {
    let head = ["POLICY", "DIRECTION", "IDENTITY", "LABELS", "PORT/PROTO", "RULES"];
    let entries = value.get("entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // One line says what no rule mentions; the gaps between the ports of each peer repeat it (`-o json` has them).
    let said = |entry: &&Value| entry["default"] != true || entry["identity"].is_null();
    let row = |entry: &Value| {
        let rules = entry.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rules: Vec<String> = rules
            .iter()
            .map(|rule| format!("{} {}:{}", text(rule, "policy"), text(rule, "file"), text(rule, "line")))
            .collect();
        let identity = entry.get("identity").filter(|id| !id.is_null()).map_or("any".to_owned(), plain);
        let word = text(entry, "policy");
        let word = if entry["audited"] == true { format!("{word} (Audit)") } else { word };
        let port = format!("{}/{}", text(entry, "ports"), text(entry, "protocol"));
        let word = if entry["default"] == true { format!("{word} (default)") } else { word };
        vec![word, text(entry, "direction"), identity, labels(entry), port, rules.join(", ")]
    };
    table(&head, entries.iter().filter(said).map(row))
}

/// `sluice ct list`.
#[must_use]
pub fn connections(value: &Value) -> String {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |item: &Value, key: &str| format!("{}/{}", plain(&item[key][0]), plain(&item[key][1]));
    let end = |item: &Value, address: &str, port: &str| match text(item, address) {
        v6 if v6.contains(':') => format!("[{v6}]:{}", text(item, port)),
        v4 => format!("{v4}:{}", text(item, port)),
    };
    let row = |item: &Value| {
        let state = if item["revoked"] == true { "Revoked".to_owned() } else { text(item, "state") };
        vec![
            text(item, "protocol"),
            end(item, "source", "sourcePort"),
            end(item, "destination", "destinationPort"),
            state,
            pair(item, "packets"),
            pair(item, "bytes"),
            format!("{}s", text(item, "ageSeconds")),
            format!("{}s", text(item, "expiresSeconds")),
            text(item, "sourceIdentity"),
            text(item, "destinationIdentity"),
        ]
    };
    let head =
        ["PROTO", "SOURCE", "DESTINATION", "STATE", "PACKETS", "BYTES", "AGE", "EXPIRES", "SRC ID", "DST ID"];
    table(&head, list.iter().map(row))
}

/// `sluice status`.
#[must_use]
pub fn status(value: &Value) -> String {
    let out = std::io::stdout();
    let mut page = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(page, "{:<14}{text}", format!("{name}:"));
    };
    let at = |path: &str| plain(value.pointer(path).unwrap_or(&Value::Null));
    let healthy = value["healthy"] == true;
    line(
        "Sluice",
        format!("{} {}", at("/version"), if healthy { good("Ok", &out) } else { bad("Degraded", &out) }),
    );
    line("Node", format!("{} (cluster {})", at("/node"), at("/cluster")));
    line("Uptime", duration(value["uptimeSeconds"].as_u64().unwrap_or(0)));
    line(
        "Policy",
        format!(
            "epoch {}, {} policies, {} endpoints",
            at("/policy/epoch"),
            at("/policy/policies"),
            at("/policy/endpoints")
        ),
    );
    line(
        "Frames",
        format!(
            "{} received, {} forwarded, {} answered, {} generated, {} dropped",
            at("/frames/received"),
            at("/frames/forwarded"),
            at("/frames/answered"),
            at("/frames/generated"),
            at("/frames/dropped")
        ),
    );
    line(
        "AF_XDP",
        format!(
            "rx {}, tx {}, tx lost {}, tx refused {}, rx lost {}, free chunks {}",
            at("/afxdp/rxFrames"),
            at("/afxdp/txFrames"),
            at("/afxdp/txLost"),
            at("/afxdp/txRefused"),
            at("/afxdp/rxLost"),
            at("/afxdp/freeChunks")
        ),
    );
    line(
        "Connections",
        format!(
            "{}/{}, {} opened",
            at("/connections/current"),
            at("/connections/max"),
            at("/connections/opened")
        ),
    );
    line(
        "Inspection",
        format!(
            "{} connections, {} frames waiting, {} bytes kept",
            at("/inspection/connections"),
            at("/inspection/waitingFrames"),
            at("/inspection/undecidedBytes")
        ),
    );
    let occupancy = value["load"]["occupancy"].as_f64().unwrap_or(0.0) * 100.0;
    line("Worker", format!("{occupancy:.1}% of polls found frames, {} sleeps", at("/load/sleeps")));
    let workers = value["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (number, worker) in workers.iter().enumerate().filter(|_| workers.len() > 1) {
        let occupancy = worker["occupancy"].as_f64().unwrap_or(0.0) * 100.0;
        let of = |key: &str| plain(&worker[key]);
        line(
            &format!("Worker {number}"),
            format!(
                "{occupancy:.1}%, {} sleeps, {} connections, {} of 256 buckets; frames handed over {}, taken over {}, lost {}",
                of("sleeps"),
                of("connections"),
                of("buckets"),
                of("handedOver"),
                of("takenOver"),
                of("handoverLost")
            ),
        );
    }
    let recorded = match &value["flowLog"]["enabled"] {
        Value::Bool(false) => "off (flowLog.enabled)".to_owned(),
        _ => format!("{} events, {} shed", at("/flowLog/seen"), at("/flowLog/shed")),
    };
    line("Flow log", recorded);
    page.push('\n');
    let keys = ["id", "interface", "owner", "mode", "queues", "mtu", "rxFrames", "txFrames", "dropped"];
    let head = ["PORT", "INTERFACE", "OWNER", "MODE", "QUEUES", "MTU", "RX", "TX", "DROPPED"];
    page.push_str(&table(&head, rows(&value["ports"], &keys)));
    if let Some(drops) = value["drops"].as_object().filter(|drops| !drops.is_empty()) {
        page.push('\n');
        let rows = drops.iter().map(|(reason, count)| vec![reason.clone(), plain(count)]);
        page.push_str(&table(&["DROP REASON", "FRAMES"], rows));
    }
    for (title, key) in [("Errors", "errors"), ("Warnings", "warnings")] {
        let list = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        if !list.is_empty() {
            let _ = writeln!(page, "\n{}", if key == "errors" { bad(title, &out) } else { title.to_owned() });
            for item in list {
                let _ = writeln!(page, "  {}", plain(item));
            }
        }
    }
    page
}

/// `3d4h`, `2h5m`, `7m12s`, `9s`.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}
