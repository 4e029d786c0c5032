//! Who took part: endpoints, services, policies.

use crate::proto::flow as to;
use flowlog::record as from;

pub(super) fn endpoint(end: &from::Endpoint) -> to::Endpoint {
    to::Endpoint {
        id: end.id,
        identity: end.identity,
        cluster_name: end.cluster_name.clone(),
        namespace: end.namespace.clone(),
        labels: end.labels.clone(),
        pod_name: end.pod_name.clone(),
        workloads: end
            .workloads
            .iter()
            .map(|owner| to::Workload { name: owner.name.clone(), kind: owner.kind.clone() })
            .collect(),
    }
}

pub(super) fn service(service: &from::ServiceRef) -> to::Service {
    to::Service { name: service.name.clone(), namespace: service.namespace.clone() }
}

pub(super) fn policy(policy: &from::PolicyRef) -> to::Policy {
    to::Policy {
        name: policy.name.clone(),
        namespace: policy.namespace.clone(),
        labels: policy.labels.clone(),
        revision: policy.revision,
        kind: policy.kind.clone(),
    }
}
