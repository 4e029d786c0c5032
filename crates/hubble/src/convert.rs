//! A record of the flow log as Hubble's `flow.Flow`.

mod names;
mod peers;
mod protocols;
pub(crate) use protocols::tcp_flags;
#[cfg(test)]
mod tests;

use crate::proto::flow::{
    CiliumEventType, DropReason, Emitter, Ethernet, Flow, Ip, IpTraceId, NetworkInterface, TraceContext,
    TraceParent,
};
use crate::time;
use flowlog::Record;
use flowlog::record::Extensions;

/// Who makes the records, as [`Flow::emitter`] says.
pub const EMITTER: &str = "Sluice";

/// Type of [`Flow::extensions`]: a type that every client knows, because one that it does not know would keep it from
/// writing the flow as JSON at all.
pub const EXTENSIONS_TYPE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// The flow that `record` is; without extensions, which cost more than the rest, where nobody asks for them.
#[must_use]
pub fn flow(record: &Record, extensions: bool) -> Flow {
    #[expect(deprecated, reason = "older clients read them")]
    Flow {
        time: record.time.map(time::to_proto),
        uuid: record.uuid.clone(),
        emitter: Some(Emitter { name: EMITTER.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: names::verdict(record.verdict).into(),
        drop_reason: record.drop_reason,
        drop_reason_desc: drop_reason(record).into(),
        ethernet: record.ethernet.as_ref().map(|ethernet| Ethernet {
            source: ethernet.source.clone(),
            destination: ethernet.destination.clone(),
        }),
        ip: record.ip.as_ref().map(|ip| Ip {
            source: ip.source.clone(),
            source_xlated: ip.source_xlated.clone(),
            destination: ip.destination.clone(),
            ip_version: names::ip_version(ip.version).into(),
            encrypted: ip.encrypted,
        }),
        l4: record.l4.as_ref().map(protocols::layer4),
        source: record.source.as_ref().map(peers::endpoint),
        destination: record.destination.as_ref().map(peers::endpoint),
        r#type: names::flow_type(record.flow_type).into(),
        node_name: record.node_name.clone(),
        node_labels: record.node_labels.clone(),
        source_names: record.source_names.clone(),
        destination_names: record.destination_names.clone(),
        l7: record.l7.as_ref().map(protocols::layer7),
        reply: record.is_reply.unwrap_or_default(),
        is_reply: record.is_reply,
        event_type: record.event_type.map(|t| CiliumEventType { r#type: t.kind, sub_type: t.sub_type }),
        source_service: record.source_service.as_deref().map(peers::service),
        destination_service: record.destination_service.as_deref().map(peers::service),
        traffic_direction: names::direction(record.traffic_direction).into(),
        policy_match_type: record.policy_match_type,
        trace_observation_point: names::point(record.trace_observation_point).into(),
        trace_reason: names::reason(record.trace_reason).into(),
        interface: record
            .interface
            .as_deref()
            .map(|interface| NetworkInterface { index: interface.index, name: interface.name.clone() }),
        trace_context: record.trace_context.as_deref().map(|context| TraceContext {
            parent: context.parent.as_ref().map(|p| TraceParent { trace_id: p.trace_id.clone() }),
        }),
        ip_trace_id: record
            .ip_trace_id
            .as_deref()
            .map(|id| IpTraceId { trace_id: id.trace_id, ip_option_type: id.ip_option_type }),
        summary: record.summary.clone(),
        extensions: record.extensions.as_ref().filter(|_| extensions).and_then(any),
        egress_allowed_by: record.egress_allowed_by.iter().map(peers::policy).collect(),
        ingress_allowed_by: record.ingress_allowed_by.iter().map(peers::policy).collect(),
        egress_denied_by: record.egress_denied_by.iter().map(peers::policy).collect(),
        ingress_denied_by: record.ingress_denied_by.iter().map(peers::policy).collect(),
        ..Flow::default()
    }
}

/// Hubble's value for the reason: by number, because the name of 136 and what it stands for are two things there.
/// Our own reasons have none.
fn drop_reason(record: &Record) -> DropReason {
    let number = i32::try_from(record.drop_reason).ok().filter(|number| *number != 0);
    let by_number = number.and_then(|number| DropReason::try_from(number).ok());
    by_number.or_else(|| DropReason::from_str_name(&record.drop_reason_desc)).unwrap_or(DropReason::Unknown)
}

fn any(extensions: &Extensions) -> Option<prost_types::Any> {
    let text = serde_json::to_string(extensions).ok()?;
    // `String` is the message `google.protobuf.StringValue`.
    let value = prost::Message::encode_to_vec(&text);
    Some(prost_types::Any { type_url: EXTENSIONS_TYPE.to_owned(), value })
}
