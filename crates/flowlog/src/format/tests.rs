use super::*;
use crate::drop_reason::DropReason;
use crate::event::{CloseReason, EventKind, FlowEvent, MessageVerdict, TraceReason, VerdictKind};
use crate::testing::{Names, event, message_record};
use policy::{DenyReason, Direction, Identity, RuleId};

fn print(events: &[FlowEvent], options: Options) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(&mut out, options);
    for (seq, event) in events.iter().enumerate() {
        printer.record(&Record::from_event(event, &Names, seq as u64)).expect("memory");
    }
    printer.flush().expect("memory");
    drop(printer);
    String::from_utf8(out).expect("text")
}

fn compact(event: FlowEvent) -> String {
    print(&[event], Options::default())
}

fn with(kind: EventKind) -> FlowEvent {
    FlowEvent { kind, ..event() }
}

fn verdict(verdict: VerdictKind) -> FlowEvent {
    let (direction, reason) = (Direction::Ingress, TraceReason::New);
    with(EventKind::Verdict { direction, verdict, rule: RuleId(1), reason })
}

fn dropped(reason: DropReason) -> FlowEvent {
    with(EventKind::Drop { reason, direction: Some(Direction::Ingress), rule: RuleId(1) })
}

const FLOW: &str = "Nov 21 10:00:00.123: production/frontend:41234 (ID:1001)";
const API: &str = "production/api:8080 (ID:1002)";

#[test]
fn compact_lines_of_verdicts() {
    for (kind, expected) in [
        (VerdictKind::Allowed, "policy-verdict:L3-L4 INGRESS ALLOWED (TCP Flags: SYN)\n"),
        (VerdictKind::Redirected, "policy-verdict:L3-L4 INGRESS ALLOWED (TCP Flags: SYN)\n"),
        (VerdictKind::Audited, "policy-verdict:none INGRESS AUDITED (TCP Flags: SYN)\n"),
    ] {
        assert_eq!(compact(verdict(kind)), format!("{FLOW} -> {API} {expected}"));
    }
    let denied = verdict(VerdictKind::Denied(DropReason::Denied(DenyReason::NoRule)));
    assert_eq!(
        compact(denied),
        format!(
            "{FLOW} <> {API} policy-verdict:none INGRESS DENIED (TCP Flags: SYN) \
             by default deny (ingress) of production/api (policies/api.yaml:12)\n"
        )
    );
    let named = Options { policy_names: true, ..Options::default() };
    assert_eq!(
        print(&[verdict(VerdictKind::Allowed)], named),
        format!(
            "{FLOW} -> {API} policy-verdict:L3-L4 INGRESS ALLOWED BY api (CiliumNetworkPolicy) (TCP Flags: SYN) \
             by production/api (policies/api.yaml:12)\n"
        )
    );
}

#[test]
fn compact_lines_of_drops() {
    assert_eq!(
        compact(dropped(DropReason::Denied(DenyReason::NoRule))),
        format!(
            "{FLOW} <> {API} Policy denied DROPPED (TCP Flags: SYN) \
             by default deny (ingress) of production/api (policies/api.yaml:12)\n"
        )
    );
    assert_eq!(
        compact(dropped(DropReason::Denied(DenyReason::DenyRule))),
        format!(
            "{FLOW} <> {API} Policy denied by denylist DROPPED (TCP Flags: SYN) \
             by production/api (policies/api.yaml:12)\n"
        )
    );
    let reason = DropReason::NoRoute;
    assert_eq!(
        compact(with(EventKind::Drop { reason, direction: None, rule: RuleId::NONE })),
        format!("{FLOW} <> {API} Stale or unroutable IP DROPPED (TCP Flags: SYN)\n")
    );
}

#[test]
fn compact_lines_of_traces_and_closes() {
    assert_eq!(compact(event()), format!("{FLOW} -> {API} to-endpoint FORWARDED (TCP Flags: SYN)\n"));
    let e = event();
    let reply = FlowEvent {
        kind: EventKind::Trace { reason: TraceReason::Reply },
        key: e.key.reversed(),
        tcp_flags: packet::TcpFlags(packet::TcpFlags::SYN | packet::TcpFlags::ACK),
        is_reply: true,
        src_identity: e.dst_identity,
        dst_identity: e.src_identity,
        src_endpoint: e.dst_endpoint,
        dst_endpoint: e.src_endpoint,
        ..e
    };
    assert_eq!(compact(reply), format!("{FLOW} <- {API} to-endpoint FORWARDED (TCP Flags: SYN, ACK)\n"));
    let key = packet::FlowKey { proto: 1, ..e.key };
    let ping = FlowEvent { key, icmp: (8, 0), dst_endpoint: None, dst_identity: Identity::HOST, ..e };
    assert_eq!(
        compact(ping),
        "Nov 21 10:00:00.123: production/frontend (ID:1001) -> 10.0.0.2 (host) to-host FORWARDED \
         (ICMPv4 EchoRequest)\n"
    );
    let (reason, duration_ns) = (CloseReason::Finished, 2_000_000);
    let close = with(EventKind::Close { reason, packets: [1, 1], bytes: [60, 60], duration_ns });
    assert_eq!(
        compact(close),
        format!(
            "{FLOW} -> {API} closed:finished TRACED (1 packets 60 bytes sent, 1 packets 60 bytes received, 0.002s)\n"
        )
    );
}

#[test]
fn options_change_the_line() {
    let options = Options { numeric: true, node_name: true, ..Options::default() };
    assert_eq!(
        print(&[event()], options),
        "Nov 21 10:00:00.123 [node-1]: 10.0.0.1:41234 (ID:1001) -> 10.0.0.2:8080 (ID:1002) to-endpoint FORWARDED \
         (TCP Flags: SYN)\n"
    );
    let colored = print(&[event()], Options { color: true, ..Options::default() });
    assert!(colored.contains("\x1b[32mFORWARDED\x1b[0m"), "{colored}");
    let v6 = FlowEvent {
        key: packet::FlowKey { src: packet::Addr(1), ..event().key },
        src_endpoint: None,
        src_identity: Identity::WORLD_IPV6,
        ..event()
    };
    assert!(compact(v6).contains(": [::1]:41234 (world-ipv6) -> "));
}

fn message(name: &str, verdict: MessageVerdict, options: Options) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(&mut out, options);
    printer.record(&message_record(name, verdict)).expect("memory");
    printer.flush().expect("memory");
    drop(printer);
    String::from_utf8(out).expect("text")
}

#[test]
fn compact_lines_of_messages() {
    use MessageVerdict::{Audited, Dropped, Error, Forwarded};
    let by = "by production/api (policies/api.yaml:12)";
    let default_deny = "by default deny (ingress) of production/api (policies/api.yaml:12)";
    let url = "http://api:8080/v1/pay";
    for (name, verdict, expected) in [
        ("http-request", Forwarded, format!("-> {API} http-request FORWARDED (HTTP/1.1 GET {url}?id=7)")),
        (
            "http-request",
            Dropped(DenyReason::NoRule),
            format!("-> {API} http-request DROPPED (HTTP/1.1 403 GET {url}?id=7) {default_deny}"),
        ),
        (
            "http-request",
            Dropped(DenyReason::DenyRule),
            format!("-> {API} http-request DROPPED (HTTP/1.1 403 GET {url}?id=7) {by}"),
        ),
        ("http-request", Audited, format!("-> {API} http-request AUDIT (HTTP/1.1 GET {url}?id=7)")),
        (
            "http-response",
            Forwarded,
            format!("<- {API} http-response FORWARDED (HTTP/1.1 200 4ms (GET {url}))"),
        ),
        (
            "grpc-response",
            Forwarded,
            format!("<- {API} http-response FORWARDED (HTTP/2 200 4ms (POST {url}))"),
        ),
        (
            "dns-request proxy",
            Forwarded,
            format!("-> {API} dns-request proxy FORWARDED (DNS Query example.com. A)"),
        ),
        (
            "dns-request proxy",
            Dropped(DenyReason::NoRule),
            format!("-> {API} dns-request proxy DROPPED (DNS Query example.com. A) {default_deny}"),
        ),
        (
            "dns-response proxy",
            Forwarded,
            format!(
                "<- {API} dns-response proxy FORWARDED \
                 (DNS Answer \"93.184.216.34,93.184.216.35\" TTL: 30 (Proxy example.com. A))"
            ),
        ),
        (
            "dns-refused",
            Forwarded,
            format!(
                "<- {API} dns-response proxy FORWARDED \
                 (DNS Answer RCode: Non-Existent Domain TTL: 0 (Proxy example.com. A))"
            ),
        ),
        (
            "dns-cname",
            Forwarded,
            format!(
                "<- {API} dns-response proxy FORWARDED (DNS Answer \"93.184.216.34,93.184.216.35\" \
                 CNAMEs: \"a.net.,b.net.\" TTL: 30 (Proxy example.com. A))"
            ),
        ),
        (
            "kafka-request",
            Forwarded,
            format!("-> {API} kafka-request FORWARDED (Kafka request fetch correlation id 5 topic 'orders')"),
        ),
        (
            "kafka-response",
            Forwarded,
            format!(
                "<- {API} kafka-response FORWARDED \
                 (Kafka response fetch correlation id 5 topic 'orders' return code 29)"
            ),
        ),
        (
            "tls-hello",
            Dropped(DenyReason::NoRule),
            format!("-> {API} tls-hello DROPPED (TLS ClientHello example.com) {default_deny}"),
        ),
        ("anomaly", Error, format!("-> {API} anomaly ERROR (Anomaly http-chunk)")),
    ] {
        assert_eq!(message(name, verdict, Options::default()), format!("{FLOW} {expected}\n"), "{name}");
    }
    let named = Options { policy_names: true, ..Options::default() };
    assert_eq!(
        message("http-request", Forwarded, named),
        format!("{FLOW} -> {API} http-request FORWARDED (HTTP/1.1 GET {url}?id=7) {by}\n")
    );
}

#[test]
fn messages_in_the_other_layouts() {
    let denied = MessageVerdict::Dropped(DenyReason::NoRule);
    let dict = message("http-request", denied, Options { layout: Layout::Dict, ..Options::default() });
    assert_eq!(
        dict,
        "  TIMESTAMP: Nov 21 10:00:00.123\n     SOURCE: production/frontend:41234\n\
         DESTINATION: production/api:8080\n       TYPE: http-request\n    VERDICT: DROPPED\n    \
         SUMMARY: HTTP/1.1 403 GET http://api:8080/v1/pay?id=7\n       \
         RULE: by default deny (ingress) of production/api (policies/api.yaml:12)\n"
    );
    let table = message(
        "dns-response proxy",
        MessageVerdict::Forwarded,
        Options { layout: Layout::Table, ..Options::default() },
    );
    assert_eq!(
        table.lines().nth(1),
        Some(
            "Nov 21 10:00:00.123   production/api:8080   production/frontend:41234   dns-response proxy   \
             FORWARDED   DNS Answer \"93.184.216.34,93.184.216.35\" TTL: 30 (Proxy example.com. A)"
        )
    );
}

#[test]
fn table_and_dict() {
    let events = [event(), dropped(DropReason::NoRoute)];
    let table = print(&events, Options { layout: Layout::Table, ..Options::default() });
    assert_eq!(
        table,
        "TIMESTAMP             SOURCE                      DESTINATION           TYPE                     VERDICT     SUMMARY\n\
         Nov 21 10:00:00.123   production/frontend:41234   production/api:8080   to-endpoint              FORWARDED   TCP Flags: SYN\n\
         Nov 21 10:00:00.123   production/frontend:41234   production/api:8080   Stale or unroutable IP   DROPPED     TCP Flags: SYN by production/api (policies/api.yaml:12)\n"
    );
    let dict = print(&[event(), event()], Options { layout: Layout::Dict, ..Options::default() });
    let one = "  TIMESTAMP: Nov 21 10:00:00.123\n     SOURCE: production/frontend:41234\nDESTINATION: production/api:8080\n       TYPE: to-endpoint\n    VERDICT: FORWARDED\n    SUMMARY: TCP Flags: SYN\n";
    assert_eq!(dict, format!("{one}------------\n{one}"));
}

#[test]
fn json_lines_have_hubbles_envelope() {
    let text = print(&[event()], Options { layout: Layout::Json, ..Options::default() });
    let start = r#"{"flow":{"time":"2025-11-21T10:00:00.123000000Z","#;
    let end = "},\"node_name\":\"node-1\",\"time\":\"2025-11-21T10:00:00.123000000Z\"}\n";
    assert!(text.starts_with(start) && text.ends_with(end), "{text}");
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut record = Record::from_event(&event(), &Names, 1);
    record.source.as_mut().expect("source").pod_name = "x\x1b[2J".to_owned();
    record.summary = "a\nb".to_owned();
    let mut line = String::new();
    compact::line(&record, &Options::default(), &mut line);
    assert!(!line.contains(['\x1b', '\n']), "{line:?}");
}
