//! From the flow record of a denied packet to the rule whose absence denied it, in the words of a policy.

use serde_json::Value;

use super::conversation::Conversation;

/// The lines under "flow log" for one denied conversation, or `None` where the record is no drop.
pub(super) fn describe_drop(one: &Conversation, record: &Value) -> Option<String> {
    let flow = record.get("flow").unwrap_or(record);
    if flow.get("verdict").and_then(Value::as_str) != Some("DROPPED") {
        return None;
    }
    let field = |key: &str| flow.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let identity =
        |side: &str| flow.get(side).and_then(|side| side.get("identity")).cloned().unwrap_or_default();
    let mut text = format!(
        "  {} (ID:{}) <> {} (ID:{})  {} {} {}",
        one.from.short(),
        identity("source"),
        one.destination(),
        identity("destination"),
        field("traffic_direction"),
        field("verdict"),
        field("drop_reason_desc"),
    );
    for line in missing_rule(record).iter().flat_map(|text| text.lines()) {
        text.push_str("\n      ");
        text.push_str(line);
    }
    Some(text)
}

/// The sentence under a denied flow, or `None` where the record is no policy denial.
fn missing_rule(record: &Value) -> Option<String> {
    let flow = record.get("flow").unwrap_or(record);
    let reason = flow.get("drop_reason_desc")?.as_str()?;
    if !reason.starts_with("POLICY_DEN") {
        return None;
    }
    let ingress = flow.get("traffic_direction")?.as_str()? == "INGRESS";
    let (source, destination) = (peer(flow, "source"), peer(flow, "destination"));
    let what = ports(flow);
    let mut text = if ingress {
        format!("missing: a policy that selects {destination}, with ingress from {source}, {what}")
    } else {
        format!("missing: a policy that selects {source}, with egress to {destination}, {what}")
    };
    let origins = origins(flow.get("extensions").unwrap_or(&Value::Null));
    if !origins.is_empty() {
        text.push_str(&format!("\n  default deny by: {}", origins.join(", ")));
    }
    Some(text)
}

/// The labels a rule would name, or the reserved identity.
fn peer(flow: &Value, side: &str) -> String {
    let labels = flow.get(side).and_then(|side| side.get("labels")).and_then(Value::as_array);
    let mut own: Vec<&str> = Vec::new();
    let mut namespace = None;
    for label in labels.into_iter().flatten().filter_map(Value::as_str) {
        if let Some(reserved) = label.strip_prefix("reserved:") {
            own.push(reserved);
            continue;
        }
        let plain = label.strip_prefix("k8s:").unwrap_or(label);
        match plain.strip_prefix("io.kubernetes.pod.namespace=") {
            Some(name) => namespace = Some(name),
            None if plain.starts_with("io.") => {}
            None => own.push(plain),
        }
    }
    let name = if own.is_empty() { "an unknown peer".to_owned() } else { own.join(",") };
    match namespace {
        Some(namespace) => format!("{name} (namespace {namespace})"),
        None => name,
    }
}

fn ports(flow: &Value) -> String {
    let Some(l4) = flow.get("l4").and_then(Value::as_object) else { return "any port".to_owned() };
    for (protocol, fields) in l4 {
        if let Some(port) = fields.get("destination_port").and_then(Value::as_u64) {
            return format!("port {port}/{protocol}");
        }
        if let Some(kind) = fields.get("type").and_then(Value::as_u64) {
            return format!("{protocol} type {kind}");
        }
    }
    "any port".to_owned()
}

/// `policy (file:line)` for every object with these three keys, wherever it stands in the extensions.
fn origins(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            let line = map.get("line").and_then(Value::as_u64);
            if let (Some(policy), Some(file), Some(line)) =
                (text("policy").or_else(|| text("name")), text("file"), line)
            {
                let file = file.rsplit('/').next().unwrap_or(file);
                return vec![format!("{policy} ({file}:{line})")];
            }
            map.values().flat_map(origins).collect()
        }
        Value::Array(items) => items.iter().flat_map(origins).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_egress_denial_names_the_rule_at_the_source() {
        let record = json!({"flow": {
            "verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED", "traffic_direction": "EGRESS",
            "source": {"labels": ["k8s:app=frontend", "k8s:io.kubernetes.pod.namespace=production"]},
            "destination": {"labels": ["k8s:app=postgres-db", "k8s:io.kubernetes.pod.namespace=production"]},
            "l4": {"TCP": {"source_port": 40000, "destination_port": 5432}},
            "extensions": {"rules": [{"policy": "production/default-deny-all", "file": "/x/deny.yaml", "line": 3}]},
        }});
        assert_eq!(
            missing_rule(&record).expect("a denial"),
            "missing: a policy that selects app=frontend (namespace production), with egress to app=postgres-db \
             (namespace production), port 5432/TCP\n  default deny by: production/default-deny-all (deny.yaml:3)"
        );
    }

    #[test]
    fn other_drops_have_no_missing_rule() {
        let record =
            json!({"flow": {"drop_reason_desc": "INVALID_SOURCE_IP", "traffic_direction": "EGRESS"}});
        assert_eq!(missing_rule(&record), None);
    }
}
