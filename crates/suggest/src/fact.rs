//! What one record says about who may talk to whom, or why it says nothing.

use crate::http::{self, Request};
use crate::kafka::{self, Api};
use crate::names;
use crate::path;
use crate::who::{self, Who};
use flowlog::record::{
    FlowType, Ip, L4, L7Type, Record, Time, TracePoint, TraceReasonName, TrafficDirection, Verdict,
    message_type,
};
use policy::Direction;

/// What a connection is made to.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Transport {
    /// Protocol and port.
    Port(&'static str, u16),
    /// Family and type.
    Icmp(&'static str, u8),
}

/// What became of a packet or message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    /// It went through.
    Passed,
    /// One side allowed it.
    Allowed(Direction),
    /// Default deny of one side, if it is known which, refused it.
    Denied(Option<Direction>),
    /// A deny rule refused it.
    Refused,
}

/// What a message asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// Method and path; whether there was a query; the path as it was sent.
    Http(Request, bool, String),
    Kafka(Vec<kafka::Asked>),
    Dns(String),
    /// The server's name, if the hello had one.
    Tls(Option<String>),
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fact {
    pub(crate) source: Who,
    pub(crate) destination: Who,
    /// Whether the ends are endpoints of the node that saw the flow.
    pub(crate) local: (bool, bool),
    /// Names of the ends, for the evidence.
    pub(crate) named: (String, String),
    pub(crate) transport: Transport,
    pub(crate) judged: Judged,
    pub(crate) audited: bool,
    pub(crate) message: Option<Message>,
    pub(crate) time: Option<Time>,
}

/// What a record is about.
///
/// # Errors
/// Why it says nothing.
pub(crate) fn read(record: &Record) -> Result<Fact, &'static str> {
    if record.is_reply == Some(true) || record.trace_reason == TraceReasonName::Reply {
        return Err("replies");
    }
    if record.flow_type == FlowType::Sock || record.verdict == Verdict::Translated {
        return Err("addresses of services, before translation");
    }
    let (judged, is_message) = judged(record)?;
    let transport = transport(record.l4.as_ref())?;
    let none = Ip::default();
    let ip = record.ip.as_ref().unwrap_or(&none);
    let (from, to) = (record.source.as_ref(), record.destination.as_ref());
    let source = who::read(from, &ip.source)?;
    let destination = who::read(to, &ip.destination)?;
    let local = |end: Option<&flowlog::record::Endpoint>| end.is_some_and(|end| end.id != 0);
    let name = |end: Option<&flowlog::record::Endpoint>, address: &str| match end {
        Some(end) if !end.pod_name.is_empty() => end.pod_name.clone(),
        _ => address.to_owned(),
    };
    Ok(Fact {
        source,
        destination,
        local: (local(from), local(to)),
        named: (name(from, &ip.source), name(to, &ip.destination)),
        transport,
        judged,
        audited: record.verdict == Verdict::Audit,
        message: if is_message { message(record)? } else { None },
        time: record.time,
    })
}

/// The verdict, and whether it is one on a message.
fn judged(record: &Record) -> Result<(Judged, bool), &'static str> {
    const LATER: &str = "packets inside of connections";
    let direction = match record.traffic_direction {
        TrafficDirection::Ingress => Some(Direction::Ingress),
        TrafficDirection::Egress => Some(Direction::Egress),
        TrafficDirection::Unknown => None,
    };
    let passed = matches!(record.verdict, Verdict::Forwarded | Verdict::Redirected | Verdict::Audit);
    let kind = record.event_kind();
    match kind {
        message_type::TRACE => {
            if record.trace_reason == TraceReasonName::Related {
                return Err("errors about other connections");
            }
            let point = record.event_type.and_then(|kind| TracePoint::from_sub_type(kind.sub_type));
            let arrived = matches!(
                point,
                Some(
                    TracePoint::ToEndpoint
                        | TracePoint::ToHost
                        | TracePoint::ToStack
                        | TracePoint::ToOverlay
                        | TracePoint::ToNetwork
                )
            );
            if !passed || !arrived {
                return Err("packets seen before they were judged");
            }
            // Older recordings do not say which way a packet goes; the first of a connection shows it.
            let first = match &record.l4 {
                Some(L4::Tcp(tcp)) => tcp.flags.is_some_and(|flags| flags.syn && !flags.ack),
                _ => false,
            };
            if record.is_reply.is_none() && !first {
                return Err(LATER);
            }
            Ok((Judged::Passed, false))
        }
        message_type::CLOSE if record.verdict == Verdict::Traced => Ok((Judged::Passed, false)),
        message_type::CLOSE => Err(LATER),
        message_type::L7 => {
            let l7 = record.l7.as_ref();
            if l7.is_some_and(|l7| l7.kind == L7Type::Response) {
                return Err("replies");
            }
            if passed {
                Ok((Judged::Passed, true))
            } else {
                refused(record, direction, true).map(|j| (j, true))
            }
        }
        message_type::POLICY_VERDICT if passed => {
            Ok((direction.map_or(Judged::Passed, Judged::Allowed), false))
        }
        // Recordings without the kind of event.
        0 if passed => Ok((Judged::Passed, record.l7.is_some())),
        0 => refused(record, direction, record.l7.is_some()).map(|judged| (judged, record.l7.is_some())),
        message_type::POLICY_VERDICT | message_type::DROP => {
            refused(record, direction, false).map(|j| (j, false))
        }
        _ => Err("records that are no flows"),
    }
}

fn refused(record: &Record, direction: Option<Direction>, message: bool) -> Result<Judged, &'static str> {
    if record.verdict != Verdict::Dropped {
        return Err("records that are no flows");
    }
    match (record.drop_reason_desc.as_str(), record.drop_reason) {
        ("POLICY_DENY", _) | ("", 181) => Ok(Judged::Refused),
        ("POLICY_DENIED", _) | ("", 133) => Ok(Judged::Denied(direction)),
        // Hubble gives no reason for a message that was refused.
        ("" | "DROP_REASON_UNKNOWN", _) if message => Ok(Judged::Denied(direction)),
        _ => Err("drops for other reasons than policy"),
    }
}

fn transport(l4: Option<&L4>) -> Result<Transport, &'static str> {
    const NONE: &str = "protocols that no rule can name";
    let port = |proto, port: u16| if port == 0 { Err(NONE) } else { Ok(Transport::Port(proto, port)) };
    match l4 {
        Some(L4::Tcp(tcp)) => port("TCP", tcp.destination_port),
        Some(L4::Udp(udp)) => port("UDP", udp.destination_port),
        Some(L4::Sctp(sctp)) => port("SCTP", sctp.destination_port),
        Some(L4::Icmpv4(icmp)) => Ok(Transport::Icmp("IPv4", icmp.kind)),
        Some(L4::Icmpv6(icmp)) => Ok(Transport::Icmp("IPv6", icmp.kind)),
        _ => Err(NONE),
    }
}

fn message(record: &Record) -> Result<Option<Message>, &'static str> {
    let extra = record.extensions.as_ref();
    if let Some(hello) = extra.and_then(|extra| extra.tls.as_ref()) {
        return Ok(Some(Message::Tls(names::canonical(&hello.server_name))));
    }
    let Some(l7) = &record.l7 else { return Ok(None) };
    if let Some(asked) = &l7.http {
        if !http::is_method(&asked.method) {
            return Err("requests whose method no rule should hold");
        }
        let path = path::read(&asked.url)?;
        return Ok(Some(Message::Http((asked.method.clone(), path.segments), path.query, path.plain)));
    }
    if let Some(question) = &l7.dns {
        let name = names::canonical(&question.query).ok_or("names that no rule can hold")?;
        return Ok(Some(Message::Dns(name)));
    }
    let Some(request) = &l7.kafka else { return Ok(None) };
    let several = extra.map_or(&[][..], |extra| &extra.kafka_topics);
    let topics = if several.is_empty() { std::slice::from_ref(&request.topic) } else { several };
    if topics.iter().any(|topic| !kafka::is_topic(topic)) {
        return Err("topics that no rule can hold");
    }
    let client = extra.map(|extra| extra.kafka_client_id.clone()).unwrap_or_default();
    let api = Api::read(&request.api_key);
    let asked = topics.iter().map(|topic| kafka::Asked {
        api: api.clone(),
        topic: topic.clone(),
        client: client.clone(),
    });
    Ok(Some(Message::Kafka(asked.collect())))
}
