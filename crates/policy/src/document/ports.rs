//! Transport conditions: `toPorts` and `icmps`.

use std::sync::Arc;

use super::{Cursor, Fields, l7};
use crate::Direction;
use crate::rule::{Icmp, IcmpFamily, L7Rules, Port, PortRule, Ports, Protocol, Sni};
use crate::validate;

/// Most elements of `ports` and of `fields` that the API admits.
const MAX_ELEMENTS: usize = 40;

/// Why a rule that terminates TLS is not honoured.
const TLS: &str = "TLS is not terminated";
/// Why a rule with a custom listener is not honoured.
const LISTENER: &str = "custom Envoy listeners are not supported";

/// What the context of a `toPorts` element admits.
#[derive(Copy, Clone)]
pub(crate) struct Place {
    pub(crate) direction: Direction,
    /// Whether the rule protects the host.
    pub(crate) host: bool,
    /// Whether the element denies.
    pub(crate) deny: bool,
    /// Whether denies may carry conditions on messages.
    pub(crate) deny_conditions: bool,
}

/// What one element of `toPorts` says.
pub(crate) struct Element {
    pub(crate) ports: Ports,
    pub(crate) l7: Option<L7Rules>,
    pub(crate) server_names: Vec<Sni>,
    pub(crate) unsupported: Option<&'static str>,
}

impl Element {
    const fn new(ports: Ports) -> Self {
        Self { ports, l7: None, server_names: Vec::new(), unsupported: None }
    }
}

/// Reads `toPorts` and `icmps` of an element; without either, one [`Element`] for any transport.
pub(crate) fn read(fields: &Fields<'_>, place: Place) -> (bool, Vec<Element>) {
    let ports = fields.items("toPorts");
    let icmps = fields.items("icmps");
    if !ports.is_empty() && !icmps.is_empty() {
        fields.at.error_hint("`icmps` and `toPorts` cannot be combined in one element", "write two elements");
    }
    if !ports.is_empty() {
        return (true, ports.iter().filter_map(|at| element(at, place)).collect());
    }
    if !icmps.is_empty() {
        let types = icmps.iter().filter_map(icmp).flatten().collect();
        return (true, vec![Element::new(Ports::Icmp(types))]);
    }
    (false, vec![Element::new(Ports::Any)])
}

fn element(at: &Cursor<'_>, place: Place) -> Option<Element> {
    let fields = match (place.deny, place.deny_conditions) {
        (true, false) => at.fields(&["ports"])?,
        (true, true) => at.fields(&["ports", "rules", "serverNames"])?,
        (false, _) => {
            at.fields(&["ports", "rules", "serverNames", "terminatingTLS", "originatingTLS", "listener"])?
        }
    };
    let written = fields.items("ports");
    if written.len() > MAX_ELEMENTS {
        fields.at.error_hint(
            format!("{} ports in one element, at most {MAX_ELEMENTS} are admitted", written.len()),
            "write several elements under `toPorts`, or a range with `endPort`",
        );
    }
    let ports: Vec<(Cursor<'_>, PortRule)> =
        written.iter().filter_map(|at| Some((at.clone(), port(at)?))).collect();
    let rules = fields.get("rules").and_then(|at| Some((l7::read(&at)?, at)));
    let terminates = fields.get_some("terminatingTLS").map(|at| tls(&at)).is_some();
    let originates = fields.get_some("originatingTLS").map(|at| tls(&at)).is_some();
    let listener = fields.get_some("listener");
    let mut unsupported = None;
    if terminates || originates {
        at.warn(format!("{TLS}: what this rule would allow is denied"));
        unsupported = Some(TLS);
    }
    if let Some(listener) = &listener {
        self::listener(listener, place.direction);
        listener.warn(format!("{LISTENER}: what this rule would allow is denied"));
        unsupported = Some(LISTENER);
    }
    let server_names = server_names(&fields);
    let mut l7 = None;
    if let Some((rules, rules_at)) = rules {
        if listener.is_some() {
            rules_at.error("`rules` cannot be combined with `listener`");
        }
        if !server_names.is_empty() && !terminates {
            rules_at.error("`serverNames` cannot be combined with `rules` unless TLS is terminated");
        }
        check_rules(&rules, &rules_at, &ports, place);
        unsupported = unsupported.or(rules.unsupported);
        l7 = rules.rules;
    }
    if fields.get("ports").is_none_or(|_| written.is_empty()) {
        at.warn_hint(
            "no `ports`: this matches nothing",
            "write `port: \"0\"` with `protocol: ANY` for every port",
        );
    }
    let ports = Ports::List(ports.into_iter().map(|(_, port)| port).collect());
    Some(Element { ports, l7, server_names, unsupported })
}

/// Application rules only stand on certain ports, and not everywhere.
fn check_rules(rules: &l7::Read, at: &Cursor<'_>, ports: &[(Cursor<'_>, PortRule)], place: Place) {
    let dns = matches!(rules.rules, Some(L7Rules::Dns(_)));
    let empty = rules.rules.is_none() && rules.unsupported.is_none();
    if dns && place.direction == Direction::Ingress {
        at.error_hint("DNS rules are for egress only", "move the rule to the egress of the clients");
    }
    if place.host && !empty && !(dns && place.direction == Direction::Egress) {
        at.error("application rules are not supported on the host, except DNS on egress");
    }
    for (port_at, port) in ports {
        if !dns && port.protocol != Protocol::Tcp {
            port_at.error_hint(
                "application rules need `protocol: TCP`; only DNS rules may stand on UDP",
                "write `protocol: TCP`, or remove `rules`",
            );
        }
        match &port.port {
            Port::Any => port_at.error("application rules need a port other than 0"),
            Port::Numbers(range) if dns && range.start() != range.end() => {
                port_at.error("DNS rules do not stand on a range of ports");
            }
            _ => {}
        }
    }
}

/// Reads an element of `ports`.
fn port(at: &Cursor<'_>) -> Option<PortRule> {
    let fields = at.fields(&["port", "endPort", "protocol"])?;
    let protocol = match fields.get("protocol") {
        Some(protocol) => self::protocol(&protocol),
        None => Some(Protocol::Any),
    };
    let end = match fields.get("endPort") {
        Some(end) => Some(u16::try_from(end.integer(0, 65535)?).ok()?),
        None => None,
    };
    let port_at = fields.need("port")?;
    let text = port_at.string()?;
    if text.is_empty() {
        port_at.error("the port is empty");
        return None;
    }
    let port = number_or_name(&port_at, &text, end)?;
    Some(PortRule { protocol: protocol?, port })
}

/// A port's text, with the end of its range.
pub(crate) fn number_or_name(at: &Cursor<'_>, text: &str, end: Option<u16>) -> Option<Port> {
    if validate::service_name(text) {
        if end.is_some_and(|end| end != 0) {
            at.warn("`endPort` has no effect on a named port");
        }
        return Some(Port::Named(text.to_ascii_lowercase().into()));
    }
    let start = match validate::port_number(text) {
        Ok(start) => start,
        Err(message) => {
            at.error(message);
            return None;
        }
    };
    if start != 0 && text.starts_with('0') {
        at.warn(format!("{text} starts with 0, which makes it octal: this is port {start}"));
    }
    let end = end.unwrap_or(0);
    Some(match (start, end) {
        (0, 0) => Port::Any,
        (0, end) => Port::Numbers(1..=end),
        (start, end) if end >= start => Port::Numbers(start..=end),
        (start, 0) => Port::Numbers(start..=start),
        (start, end) => {
            at.warn(format!(
                "endPort {end} is below port {start} and has no effect: this is port {start} only"
            ));
            Port::Numbers(start..=start)
        }
    })
}

fn protocol(at: &Cursor<'_>) -> Option<Protocol> {
    let word = at.word(&["TCP", "UDP", "SCTP", "VRRP", "IGMP", "ANY"])?;
    Some(match &*word {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "ANY" => Protocol::Any,
        _ => {
            at.error(format!("protocol {word} needs extended IP protocols, which are off"));
            return None;
        }
    })
}

fn server_names(fields: &Fields<'_>) -> Vec<Sni> {
    let mut names = Vec::new();
    for at in fields.items("serverNames") {
        let Some(text) = at.string() else { continue };
        let rest = text.strip_prefix("**.").or_else(|| text.strip_prefix("*.")).unwrap_or(&text);
        if text.is_empty() {
            at.error("the server name is empty");
        } else if validate::dns_name(rest).is_err() {
            at.error(format!(
                "`{text}` is not a server name: write a name, `*.` and a name, or `**.` and a name"
            ));
        } else {
            names.push(Sni::parse(text.strip_suffix('.').unwrap_or(&text)));
        }
    }
    names
}

fn tls(at: &Cursor<'_>) {
    let Some(fields) = at.fields(&["secret", "trustedCA", "certificate", "privateKey"]) else { return };
    if let Some(secret) = fields.need("secret").and_then(|at| at.fields(&["namespace", "name"])) {
        secret.need("name");
    }
}

fn listener(at: &Cursor<'_>, direction: Direction) {
    let Some(fields) = at.fields(&["envoyConfig", "name", "priority"]) else { return };
    if direction == Direction::Ingress {
        at.error("`listener` is for egress only");
    }
    if let Some(config) = fields.need("envoyConfig").and_then(|at| at.fields(&["kind", "name"])) {
        if let Some(kind) = config.get("kind") {
            kind.word(&["CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"]);
        }
        non_empty(&config, "name");
    }
    non_empty(&fields, "name");
    if let Some(priority) = fields.get("priority") {
        priority.integer(0, 100);
    }
}

fn non_empty(fields: &Fields<'_>, key: &str) {
    if let Some(at) = fields.need(key)
        && at.string().is_some_and(|text| text.is_empty())
    {
        at.error(format!("`{key}` is empty"));
    }
}

/// Reads an element of `icmps`.
fn icmp(at: &Cursor<'_>) -> Option<Vec<Icmp>> {
    let fields = at.fields(&["fields"])?;
    let items = fields.items("fields");
    if items.len() > MAX_ELEMENTS {
        at.error(format!("{} types in one element, at most {MAX_ELEMENTS} are admitted", items.len()));
    }
    Some(items.iter().filter_map(icmp_type).collect())
}

fn icmp_type(at: &Cursor<'_>) -> Option<Icmp> {
    let fields = at.fields(&["family", "type"])?;
    let family = match fields.get("family") {
        Some(at) => match &*at.word(&["IPv4", "IPv6"])? {
            "IPv6" => IcmpFamily::V6,
            _ => IcmpFamily::V4,
        },
        None => IcmpFamily::V4,
    };
    let type_at = fields.need("type")?;
    if matches!(type_at.node.value, crate::yaml::Value::Int(_)) {
        let kind = u8::try_from(type_at.integer(0, 255)?).ok()?;
        return Some(Icmp { family, kind });
    }
    let text: Arc<str> = type_at.string()?;
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && (&*text == "0" || !text.starts_with('0'));
    if let Some(kind) = text.parse().ok().filter(|_| digits) {
        return Some(Icmp { family, kind });
    }
    let names = match family {
        IcmpFamily::V4 => ICMP_V4,
        IcmpFamily::V6 => ICMP_V6,
    };
    if let Some((_, kind)) = names.iter().find(|(name, _)| *name == &*text) {
        return Some(Icmp { family, kind: *kind });
    }
    let message =
        format!("`{text}` is no type of {}", if family == IcmpFamily::V4 { "ICMP (IPv4)" } else { "ICMPv6" });
    let words: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    match crate::suggest::closest(&text, &words) {
        Some(word) => type_at.error_hint(message, format!("did you mean `{word}`?")),
        None if &*text == "Ping" => type_at.error_hint(message, "write `EchoRequest`"),
        None => type_at.error_hint(message, "write the number"),
    }
    None
}

/// ICMP types by name (IANA registry "ICMP Type Numbers", spelling of the API).
const ICMP_V4: &[(&str, u8)] = &[
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
];

/// ICMPv6 types by name (IANA registry "ICMPv6 type Numbers", spelling of the API).
const ICMP_V6: &[(&str, u8)] = &[
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
];
