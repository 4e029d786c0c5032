//! Which pod labels make an identity: Cilium's default filter, so that numbers of identities stay comparable.

/// Kept whatever else says no.
const KEPT: [&str; 5] = [
    "io.kubernetes.pod.namespace",
    "io.cilium.k8s.namespace.labels.",
    "app.kubernetes.io",
    "io.cilium.k8s.policy.cluster",
    "io.cilium.k8s.policy.serviceaccount",
];

/// Dropped: facts about scheduling and revisions, which would make an identity per pod.
const DROPPED: [&str; 13] = [
    "io.kubernetes",
    "kubernetes.io",
    "k8s.io",
    "topology.kubernetes.io",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "annotation",
    "etcd_node",
];

/// Dropped wherever in the key it stands.
const DROPPED_WITHIN: &str = "beta.kubernetes.io";

/// Whether a label key of a pod (without source) is part of its identity.
#[must_use]
pub fn counts(key: &str) -> bool {
    let starts = |list: &[&str]| list.iter().any(|prefix| key.starts_with(prefix));
    starts(&KEPT) || !(starts(&DROPPED) || key.contains(DROPPED_WITHIN))
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn names_count_and_revisions_do_not() {
        for key in
            ["app", "app.kubernetes.io/name", "io.cilium.k8s.policy.cluster", "team", "x.kubernetes.io/y"]
        {
            assert!(counts(key), "{key}");
        }
        for key in [
            "pod-template-hash",
            "kubernetes.io/arch",
            "node.beta.kubernetes.io/x",
            "topology.kubernetes.io/zone",
        ] {
            assert!(!counts(key), "{key}");
        }
    }
}
