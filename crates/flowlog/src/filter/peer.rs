//! What a filter asks of one end of a flow.

use super::matching::any;
use super::pattern::{Glob, NamePattern, Selector};
use super::{FilterError, FlowFilter, MAX_ENTRIES};
use crate::record::{Endpoint, L4, Record, ServiceRef, WorkloadRef};
use ipnet::IpNet;
use std::net::IpAddr;

/// One end, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    source: bool,
    nets: Vec<IpNet>,
    pods: Vec<Prefix>,
    services: Vec<Prefix>,
    labels: Vec<Selector>,
    workloads: Vec<WorkloadRef>,
    clusters: Vec<Glob>,
    ports: Vec<u16>,
    identities: Vec<u32>,
    names: Vec<NamePattern>,
}

/// A namespace (empty: any) and how the name starts.
#[derive(Clone, Debug)]
struct Prefix(String, String);

impl Peer {
    pub(super) fn source(f: &FlowFilter) -> Result<Self, FilterError> {
        Self::new(
            true,
            [
                &f.source_ip,
                &f.source_pod,
                &f.source_service,
                &f.source_label,
                &f.source_port,
                &f.source_fqdn,
                &f.source_cluster_name,
            ],
            &f.source_workload,
            &f.source_identity,
        )
    }

    pub(super) fn destination(f: &FlowFilter) -> Result<Self, FilterError> {
        Self::new(
            false,
            [
                &f.destination_ip,
                &f.destination_pod,
                &f.destination_service,
                &f.destination_label,
                &f.destination_port,
                &f.destination_fqdn,
                &f.destination_cluster_name,
            ],
            &f.destination_workload,
            &f.destination_identity,
        )
    }

    fn new(
        source: bool,
        texts: [&[String]; 7],
        workloads: &[WorkloadRef],
        identities: &[u32],
    ) -> Result<Self, FilterError> {
        let lengths = texts.iter().map(|list| list.len()).chain([workloads.len(), identities.len()]);
        if lengths.max().unwrap_or(0) > MAX_ENTRIES {
            return Err(FilterError::TooMany);
        }
        let [ips, pods, services, labels, ports, names, clusters] = texts;
        let port = |text: &String| text.parse().map_err(|_| FilterError::value("port", text));
        Ok(Self {
            source,
            nets: networks("ip", ips)?,
            pods: pods.iter().map(|text| Prefix::new(text)).collect(),
            services: services.iter().map(|text| Prefix::new(text)).collect(),
            labels: labels.iter().map(|text| Selector::parse("label", text)).collect::<Result<_, _>>()?,
            workloads: workloads.to_vec(),
            clusters: clusters.iter().map(|text| Glob::new("cluster", text)).collect::<Result<_, _>>()?,
            ports: ports.iter().map(port).collect::<Result<_, _>>()?,
            identities: identities.to_vec(),
            names: names.iter().map(|text| NamePattern::new(text)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        let (end, service, names) = if self.source {
            (r.source.as_ref(), r.source_service.as_deref(), &r.source_names)
        } else {
            (r.destination.as_ref(), r.destination_service.as_deref(), &r.destination_names)
        };
        any(&self.ports, |wanted| self.port(r) == Some(*wanted))
            && any(&self.identities, |id| end.map_or(0, |e| e.identity) == *id)
            && any(&self.pods, |pod| end.is_some_and(|e| pod.is_of(&e.namespace, &e.pod_name)))
            && any(&self.services, |wanted| {
                service.is_some_and(|ServiceRef { name, namespace }| wanted.is_of(namespace, name))
            })
            && any(&self.labels, |selector| end.is_some_and(|e| selector.matches(&e.labels)))
            && any(&self.workloads, |wanted| end.is_some_and(|e| owned(e, wanted)))
            && any(&self.clusters, |cluster| end.is_some_and(|e| cluster.matches(&e.cluster_name)))
            && any(&self.names, |pattern| names.iter().any(|name| pattern.matches(name)))
            && self.address_matches(r)
    }

    fn port(&self, r: &Record) -> Option<u16> {
        let (source, destination) = r.l4.as_ref().and_then(L4::ports)?;
        Some(if self.source { source } else { destination })
    }

    fn address_matches(&self, r: &Record) -> bool {
        if self.nets.is_empty() {
            return true;
        }
        let text = r.ip.as_ref().map(|ip| if self.source { &ip.source } else { &ip.destination });
        text.is_some_and(|text| contains(&self.nets, text))
    }
}

impl Prefix {
    /// Without a namespace `default` is meant, as in Hubble; empty asks for any pod.
    fn new(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, prefix)) => Self(namespace.to_owned(), prefix.to_owned()),
            None => Self("default".to_owned(), text.to_owned()),
        }
    }

    fn is_of(&self, namespace: &str, name: &str) -> bool {
        !name.is_empty() && (self.0.is_empty() || self.0 == namespace) && name.starts_with(self.1.as_str())
    }
}

/// What is not given of a workload is not asked.
fn owned(end: &Endpoint, wanted: &WorkloadRef) -> bool {
    end.workloads.iter().any(|have| {
        (wanted.name.is_empty() || wanted.name == have.name)
            && (wanted.kind.is_empty() || wanted.kind == have.kind)
    })
}

/// Addresses and CIDRs.
pub(super) fn networks(flag: &str, texts: &[String]) -> Result<Vec<IpNet>, FilterError> {
    let one = |text: &String| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| FilterError::value(flag, text))
    };
    texts.iter().map(one).collect()
}

/// Whether the address that `text` says is in one of `nets`.
pub(super) fn contains(nets: &[IpNet], text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| nets.iter().any(|net| net.contains(&address)))
}
