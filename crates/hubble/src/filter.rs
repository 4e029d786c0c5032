//! Filters as clients send them, made into those of the flow log.

mod strict;

pub use strict::Strict;

use crate::convert::tcp_flags;
use crate::proto::flow as from;
use flowlog::filter::{
    EventTypeFilter, Experimental, FilterError, Filters, FlowFilter, HeaderFilter, InterfaceFilter,
};
use flowlog::record::{IpVersion, TcpFlagSet, TrafficDirection, Verdict, WorkloadRef};

/// A filter that cannot be honoured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// A field that this version does not know.
    #[error("{list}[{at}]: field number {number} of a flow filter is not known to this server")]
    UnknownField {
        /// `whitelist` or `blacklist`.
        list: &'static str,
        /// Which of its filters.
        at: usize,
        /// The field.
        number: u32,
    },
    /// A number that is no value of its enum.
    #[error("{list}[{at}].{field}: {number} is not one of its values")]
    UnknownValue {
        /// `whitelist` or `blacklist`.
        list: &'static str,
        /// Which of its filters.
        at: usize,
        /// The field.
        field: &'static str,
        /// The number.
        number: i32,
    },
    /// What the flow log says against it.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Reads both lists.
///
/// # Errors
///
/// A field or value that is not understood, by name: none is ignored.
pub fn filters(whitelist: &[Strict], blacklist: &[Strict]) -> Result<Filters, Refused> {
    let read = |list: &'static str, filters: &[Strict]| {
        filters
            .iter()
            .enumerate()
            .map(|(at, filter)| one(Place { list, at }, filter))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Filters { allowlist: read("whitelist", whitelist)?, denylist: read("blacklist", blacklist)? })
}

/// Where a filter stands.
#[derive(Copy, Clone)]
struct Place {
    list: &'static str,
    at: usize,
}

impl Place {
    /// Looks every number up.
    fn values<T>(
        self,
        field: &'static str,
        numbers: Vec<i32>,
        value: impl Fn(i32) -> Option<T>,
    ) -> Result<Vec<T>, Refused> {
        let Self { list, at } = self;
        let known = |number| value(number).ok_or(Refused::UnknownValue { list, at, field, number });
        numbers.into_iter().map(known).collect()
    }
}

/// The flow log's filter out of the protocol's: fields that are the same in both, then the others. There is no `..` for
/// the protocol's, so a field that is added to it must be thought of here.
macro_rules! flow_filter {
    ($filter:expr; $($same:ident),*; $($other:ident: $value:expr),* $(,)?) => {{
        let from::FlowFilter { $($same,)* $($other,)* } = $filter;
        Ok(FlowFilter { $($same,)* $($other: $value,)* ..FlowFilter::default() })
    }};
}

fn one(place: Place, filter: &Strict) -> Result<FlowFilter, Refused> {
    if let Some(number) = filter.unknown() {
        return Err(Refused::UnknownField { list: place.list, at: place.at, number });
    }
    flow_filter!(filter.known().clone();
        uuid,
        source_ip,
        source_ip_xlated,
        source_pod,
        source_fqdn,
        source_label,
        source_service,
        source_cluster_name,
        destination_ip,
        destination_pod,
        destination_fqdn,
        destination_label,
        destination_service,
        destination_cluster_name,
        http_status_code,
        protocol,
        source_port,
        destination_port,
        reply,
        dns_query,
        source_identity,
        destination_identity,
        http_method,
        http_path,
        http_url,
        node_name,
        node_labels,
        trace_id,
        ip_trace_id,
        encrypted;
        source_workload: workloads(source_workload),
        destination_workload: workloads(destination_workload),
        traffic_direction: place.values("traffic_direction", traffic_direction, |number| {
            let wanted = from::TrafficDirection::try_from(number).ok()?.as_str_name();
            named(TrafficDirection::ALL, |direction| direction.name(), wanted)
        })?,
        verdict: place.values("verdict", verdict, |number| {
            named(Verdict::ALL, |v| v.name(), from::Verdict::try_from(number).ok()?.as_str_name())
        })?,
        drop_reason_desc: place.values("drop_reason_desc", drop_reason_desc, reason)?,
        interface: all(interface, |interface| InterfaceFilter { index: interface.index, name: interface.name }),
        event_type: all(event_type, |t| EventTypeFilter {
            kind: t.r#type,
            match_sub_type: t.match_sub_type,
            sub_type: t.sub_type,
        }),
        http_header: all(http_header, |header| HeaderFilter { key: header.key, value: header.value }),
        tcp_flags: all(tcp_flags, |set| tcp_flags!(TcpFlagSet, set)),
        ip_version: place.values("ip_version", ip_version, |number| {
            named(IpVersion::ALL, |v| v.name(), from::IpVersion::try_from(number).ok()?.as_str_name())
        })?,
        experimental: Experimental { cel_expression: experimental.unwrap_or_default().cel_expression },
    )
}

/// Each of a list as the flow log has it.
fn all<T, U>(list: Vec<T>, one: impl Fn(T) -> U) -> Vec<U> {
    list.into_iter().map(one).collect()
}

/// The name under which the flow log has the reason of this number.
fn reason(number: i32) -> Option<String> {
    let known = from::DropReason::try_from(number).ok()?;
    let ours = flowlog::DropReason::ALL.iter().map(|reason| reason.hubble());
    let ours = ours.filter(|(_, of)| i32::try_from(*of) == Ok(number)).map(|(name, _)| name).next();
    Some(ours.unwrap_or_else(|| known.as_str_name()).to_owned())
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value) == wanted)
}

fn workloads(list: Vec<from::Workload>) -> Vec<WorkloadRef> {
    all(list, |owner| WorkloadRef { name: owner.name, kind: owner.kind })
}

#[cfg(test)]
mod tests;
