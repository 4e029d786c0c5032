//! Filters as clients send them, made into those of the flow log.

mod strict;

pub use strict::Strict;

use crate::proto::flow as from;
use flowlog::filter::{
    CompiledFilters, EventTypeFilter, Experimental, FilterError, Filters, FlowFilter, HeaderFilter,
    InterfaceFilter,
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

/// Reads both lists and makes them ready to run.
///
/// # Errors
///
/// A field or value that is not understood, by name: none is ignored.
pub fn compile(whitelist: &[Strict], blacklist: &[Strict]) -> Result<CompiledFilters, Refused> {
    let read = |list: &'static str, filters: &[Strict]| {
        filters
            .iter()
            .enumerate()
            .map(|(at, filter)| one(Place { list, at }, filter))
            .collect::<Result<Vec<_>, _>>()
    };
    let filters =
        Filters { allowlist: read("whitelist", whitelist)?, denylist: read("blacklist", blacklist)? };
    Ok(filters.compile()?)
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

fn one(place: Place, filter: &Strict) -> Result<FlowFilter, Refused> {
    if let Some(number) = filter.unknown() {
        return Err(Refused::UnknownField { list: place.list, at: place.at, number });
    }
    // Without `..`: a field that is added to the protocol must be thought of here.
    let from::FlowFilter {
        uuid,
        source_ip,
        source_ip_xlated,
        source_pod,
        source_fqdn,
        source_label,
        source_service,
        source_workload,
        source_cluster_name,
        destination_ip,
        destination_pod,
        destination_fqdn,
        destination_label,
        destination_service,
        destination_workload,
        destination_cluster_name,
        traffic_direction,
        verdict,
        drop_reason_desc,
        interface,
        event_type,
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
        http_header,
        tcp_flags,
        node_name,
        node_labels,
        ip_version,
        trace_id,
        ip_trace_id,
        encrypted,
        experimental,
    } = filter.known().clone();
    Ok(FlowFilter {
        uuid,
        source_ip,
        source_ip_xlated,
        source_pod,
        source_fqdn,
        source_label,
        source_service,
        source_workload: workloads(source_workload),
        source_cluster_name,
        destination_ip,
        destination_pod,
        destination_fqdn,
        destination_label,
        destination_service,
        destination_workload: workloads(destination_workload),
        destination_cluster_name,
        traffic_direction: place.values("traffic_direction", traffic_direction, |number| {
            named(
                TrafficDirection::ALL,
                |d| d.name(),
                from::TrafficDirection::try_from(number).ok()?.as_str_name(),
            )
        })?,
        verdict: place.values("verdict", verdict, |number| {
            named(Verdict::ALL, |v| v.name(), from::Verdict::try_from(number).ok()?.as_str_name())
        })?,
        drop_reason_desc: place.values("drop_reason_desc", drop_reason_desc, reason)?,
        interface: interface
            .into_iter()
            .map(|interface| InterfaceFilter { index: interface.index, name: interface.name })
            .collect(),
        event_type: event_type
            .into_iter()
            .map(|t| EventTypeFilter {
                kind: t.r#type,
                match_sub_type: t.match_sub_type,
                sub_type: t.sub_type,
            })
            .collect(),
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
        http_header: http_header
            .into_iter()
            .map(|header| HeaderFilter { key: header.key, value: header.value })
            .collect(),
        tcp_flags: tcp_flags.into_iter().map(flags).collect(),
        node_name,
        node_labels,
        ip_version: place.values("ip_version", ip_version, |number| {
            named(IpVersion::ALL, |v| v.name(), from::IpVersion::try_from(number).ok()?.as_str_name())
        })?,
        trace_id,
        ip_trace_id,
        encrypted,
        experimental: Experimental { cel_expression: experimental.unwrap_or_default().cel_expression },
        ..FlowFilter::default()
    })
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
    list.into_iter().map(|owner| WorkloadRef { name: owner.name, kind: owner.kind }).collect()
}

const fn flags(set: from::TcpFlags) -> TcpFlagSet {
    TcpFlagSet {
        fin: set.fin,
        syn: set.syn,
        rst: set.rst,
        psh: set.psh,
        ack: set.ack,
        urg: set.urg,
        ece: set.ece,
        cwr: set.cwr,
        ns: set.ns,
    }
}

#[cfg(test)]
mod tests;
