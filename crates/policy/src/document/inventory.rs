//! Inventory files: workloads by name, address and label.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Context, Cursor, Diagnostic, Fields, Options, Severity, metadata};
use crate::inventory::{
    External, Inventory, NamedPort, Namespace, Node, Owner, PlainLabels, Pod, Service, ServicePort, Special,
    TargetPort,
};
use crate::rule::Protocol;
use crate::yaml::{self, Value};

/// Label that every namespace carries.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Reserved labels that a special peer may have.
const SPECIAL: [&str; 4] = ["health", "ingress", "init", "unmanaged"];
/// Largest inventory, in bytes: 10,000 pods take about 3 MiB.
const MAX_BYTES: usize = 64 << 20;

/// Reads an inventory file; several documents in it add up.
///
/// # Errors
///
/// Everything that is wrong with it; an inventory is taken whole or not at all.
pub fn load_inventory(text: &str, file: &str) -> Result<Inventory, Vec<Diagnostic>> {
    let file: Arc<str> = file.into();
    let options = Options::default();
    let mut inventory = Inventory::default();
    let mut diagnostics = Vec::new();
    let mut fail = |line, column, message| {
        diagnostics.push(Diagnostic {
            severity: Severity::Error,
            file: Arc::clone(&file),
            line,
            column,
            path: String::new(),
            message,
            suggestion: None,
        });
    };
    if text.len() > MAX_BYTES {
        fail(1, 1, format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len()));
        return Err(diagnostics);
    }
    let mut found = Vec::new();
    for (line, text) in yaml::split(text) {
        match yaml::parse(text, line) {
            Ok(Some(node)) => {
                let context = Context::new(&file, &options);
                read(&Cursor::root(&context, &node), &mut inventory);
                found.extend(context.diagnostics.into_inner());
            }
            Ok(None) => {}
            Err(error) => fail(error.line, error.column, error.message),
        }
    }
    diagnostics.extend(found.into_iter().filter(|found| found.severity == Severity::Error));
    if diagnostics.is_empty() { Ok(inventory) } else { Err(diagnostics) }
}

fn read(root: &Cursor<'_>, inventory: &mut Inventory) {
    let Some(fields) = root.fields(&["namespaces", "nodes", "pods", "external", "services", "special"])
    else {
        return;
    };
    inventory.namespaces.extend(some_items(&fields, "namespaces").iter().filter_map(namespace));
    inventory.nodes.extend(some_items(&fields, "nodes").iter().filter_map(node));
    inventory.pods.extend(some_items(&fields, "pods").iter().filter_map(pod));
    inventory.external.extend(some_items(&fields, "external").iter().filter_map(external));
    inventory.services.extend(some_items(&fields, "services").iter().filter_map(service));
    inventory.special.extend(some_items(&fields, "special").iter().filter_map(special));
}

/// The items of a list that may be missing or null.
fn some_items<'a>(fields: &Fields<'a>, key: &str) -> Vec<Cursor<'a>> {
    fields.get_some(key).and_then(|at| at.items()).unwrap_or_default()
}

fn name(fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
    let at = fields.need(key)?;
    let text = at.string()?;
    if text.is_empty() {
        at.error(format!("`{key}` is empty"));
        return None;
    }
    Some(text)
}

fn namespace(at: &Cursor<'_>) -> Option<Namespace> {
    let fields = at.fields(&["name", "labels"])?;
    let name = name(&fields, "name")?;
    let mut labels: PlainLabels = metadata::strings(&fields, "labels");
    if !labels.iter().any(|(key, _)| &**key == NAMESPACE_NAME) {
        labels.push((NAMESPACE_NAME.into(), Arc::clone(&name)));
    }
    Some(Namespace { name, labels, line: at.line() })
}

fn node(at: &Cursor<'_>) -> Option<Node> {
    let fields = at.fields(&["name", "labels", "ips", "kubeAPIServer"])?;
    Some(Node {
        name: name(&fields, "name")?,
        labels: metadata::strings(&fields, "labels"),
        ips: addresses(&fields, "ips"),
        kube_api_server: flag(&fields, "kubeAPIServer"),
        line: at.line(),
    })
}

fn pod(at: &Cursor<'_>) -> Option<Pod> {
    let fields = at.fields(&[
        "name",
        "namespace",
        "labels",
        "serviceAccount",
        "node",
        "ips",
        "ports",
        "interface",
        "mac",
        "workload",
    ])?;
    Some(Pod {
        name: name(&fields, "name")?,
        namespace: namespace_of(&fields),
        labels: metadata::strings(&fields, "labels"),
        service_account: fields.get_some("serviceAccount").and_then(|at| at.string()),
        node: fields.get_some("node").and_then(|at| at.string()).unwrap_or_default(),
        ips: addresses(&fields, "ips"),
        ports: some_items(&fields, "ports").iter().filter_map(named_port).collect(),
        interface: fields.get_some("interface").and_then(|at| at.string()),
        mac: fields.get_some("mac").and_then(|at| mac(&at)),
        workload: fields.get_some("workload").and_then(|at| owner(&at)),
        line: at.line(),
    })
}

fn owner(at: &Cursor<'_>) -> Option<Owner> {
    let fields = at.fields(&["kind", "name"])?;
    Some(Owner { kind: name(&fields, "kind")?, name: name(&fields, "name")? })
}

fn external(at: &Cursor<'_>) -> Option<External> {
    let fields = at.fields(&["name", "ip", "dnsNames", "kubeAPIServer"])?;
    let written = some_items(&fields, "dnsNames");
    let dns_names = written.iter().filter_map(Cursor::string);
    Some(External {
        name: name(&fields, "name")?,
        ip: address(&fields.need("ip")?)?,
        dns_names: dns_names.map(|name| name.trim_end_matches('.').to_ascii_lowercase().into()).collect(),
        kube_api_server: flag(&fields, "kubeAPIServer"),
        line: at.line(),
    })
}

fn service(at: &Cursor<'_>) -> Option<Service> {
    let fields = at.fields(&["name", "namespace", "labels", "selector", "ips", "ports", "endpoints"])?;
    Some(Service {
        name: name(&fields, "name")?,
        namespace: namespace_of(&fields),
        labels: metadata::strings(&fields, "labels"),
        selector: metadata::strings(&fields, "selector"),
        ips: addresses(&fields, "ips"),
        ports: some_items(&fields, "ports").iter().filter_map(service_port).collect(),
        endpoints: addresses(&fields, "endpoints"),
        line: at.line(),
    })
}

fn special(at: &Cursor<'_>) -> Option<Special> {
    let fields = at.fields(&["name", "reserved"])?;
    let reserved = fields.need("reserved")?.word(&SPECIAL)?;
    Some(Special { name: name(&fields, "name")?, reserved, line: at.line() })
}

fn namespace_of(fields: &Fields<'_>) -> Arc<str> {
    let written = fields.get_some("namespace").and_then(|at| at.string());
    written.filter(|text| !text.is_empty()).unwrap_or_else(|| metadata::DEFAULT_NAMESPACE.into())
}

fn named_port(at: &Cursor<'_>) -> Option<NamedPort> {
    let fields = at.fields(&["name", "port", "protocol"])?;
    let name = name(&fields, "name")?.to_ascii_lowercase().into();
    let port = u16::try_from(fields.need("port")?.integer(1, 65535)?).ok()?;
    Some(NamedPort { name, port, protocol: protocol(&fields)? })
}

fn service_port(at: &Cursor<'_>) -> Option<ServicePort> {
    let fields = at.fields(&["name", "port", "protocol", "targetPort"])?;
    let port = u16::try_from(fields.need("port")?.integer(1, 65535)?).ok()?;
    let target = match fields.get_some("targetPort") {
        None => TargetPort::Number(port),
        Some(at) => match &at.node.value {
            Value::String(text) => TargetPort::Named(text.to_ascii_lowercase().into()),
            _ => TargetPort::Number(u16::try_from(at.integer(1, 65535)?).ok()?),
        },
    };
    let name = fields.get_some("name").and_then(|at| at.string()).filter(|text| !text.is_empty());
    Some(ServicePort { name, port, protocol: protocol(&fields)?, target })
}

fn protocol(fields: &Fields<'_>) -> Option<Protocol> {
    match fields.get_some("protocol") {
        None => Some(Protocol::Tcp),
        Some(at) => Some(match &*at.word(&["TCP", "UDP", "SCTP"])? {
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => Protocol::Tcp,
        }),
    }
}

fn flag(fields: &Fields<'_>, key: &str) -> bool {
    fields.get_some(key).and_then(|at| at.boolean()).unwrap_or(false)
}

fn addresses(fields: &Fields<'_>, key: &str) -> Vec<IpAddr> {
    some_items(fields, key).iter().filter_map(address).collect()
}

fn address(at: &Cursor<'_>) -> Option<IpAddr> {
    let text = at.string()?;
    let address = text.parse().ok();
    if address.is_none() {
        at.error(format!("`{text}` is not an IPv4 or IPv6 address"));
    }
    address
}

fn mac(at: &Cursor<'_>) -> Option<[u8; 6]> {
    let text = at.string()?;
    let mut parts = text.split([':', '-']);
    let mut mac = [0; 6];
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
        match part.and_then(|part| u8::from_str_radix(part, 16).ok()) {
            Some(value) => *byte = value,
            None => {
                at.error_hint(format!("`{text}` is not a hardware address"), "write \"02:00:00:00:00:01\"");
                return None;
            }
        }
    }
    if parts.next().is_some() {
        at.error(format!("`{text}` is not a hardware address"));
        return None;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::load_inventory;
    use crate::inventory::Owner;

    #[test]
    fn a_pod_may_say_what_it_belongs_to() {
        let read = |more: &str| load_inventory(&format!("pods:\n- {{name: web{more}}}\n"), "i.yaml");
        let owner = |more: &str| read(more).expect("valid").pods.remove(0).workload;
        let stated = Owner { kind: "Deployment".into(), name: "web".into() };
        assert_eq!(owner(", workload: {kind: Deployment, name: web}"), Some(stated));
        assert_eq!(owner(""), None);
        assert_eq!(owner(", workload: null"), None);
        for (wrong, word) in [
            (", workload: {kind: Deployment}", "`name`"),
            (", workload: {kind: \"\", name: web}", "`kind` is empty"),
            (", workload: {kind: a, name: b, uid: c}", "uid"),
            (", workload: Deployment/web", "workload"),
        ] {
            let found = read(wrong).expect_err(wrong);
            assert_eq!((found.len(), found[0].line), (1, 2), "{found:?}");
            assert!(found[0].to_string().contains(word), "{}", found[0]);
        }
    }
}
