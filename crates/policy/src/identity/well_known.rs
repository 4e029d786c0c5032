//! Well-known identities: numbers that the DNS servers and the operator of a cluster have before anything is
//! allocated, as in Cilium. Each stands for an exact set of labels; one label more or less and the number is an
//! ordinary one.
//!
//! Cilium has every number twice, without and with the label of the namespace's name. Pods here always carry that
//! label, so the second ones are given; the first ones are matched too, for inventories written by hand.

use super::Identity;
use crate::label::{CLUSTER, LabelSet, NAMESPACE, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT, Source};

/// Number without and with the label of the namespace's name, service account, and the pod's own labels.
type Entry = (u32, u32, &'static str, &'static [(&'static str, &'static str)]);

/// All of them live in this namespace.
const SYSTEM: &str = "kube-system";

const ENTRIES: [Entry; 5] = [
    (102, 110, "kube-dns", &[("k8s-app", "kube-dns")]),
    (103, 111, "kube-dns", &[("k8s-app", "kube-dns"), ("eks.amazonaws.com/component", "kube-dns")]),
    (104, 112, "coredns", &[("k8s-app", "kube-dns")]),
    (
        105,
        113,
        "cilium-operator",
        &[
            ("io.cilium/app", "operator"),
            ("app.kubernetes.io/part-of", "cilium"),
            ("app.kubernetes.io/name", "cilium-operator"),
        ],
    ),
    (106, 114, "coredns", &[("k8s-app", "kube-dns"), ("eks.amazonaws.com/component", "coredns")]),
];

/// The number that these labels have by convention.
pub(super) fn number(labels: &LabelSet) -> Option<Identity> {
    if labels.namespace() != Some(SYSTEM) || labels.iter().any(|label| label.source != Source::K8s) {
        return None;
    }
    let account = labels.k8s(SERVICE_ACCOUNT)?;
    labels.k8s(CLUSTER)?;
    let name_key = format!("{NAMESPACE_LABELS_PREFIX}kubernetes.io/metadata.name");
    let named = labels.k8s(&name_key).is_some();
    let shared = [NAMESPACE, SERVICE_ACCOUNT, CLUSTER, name_key.as_str()];
    let own = labels.iter().filter(|label| !shared.contains(&&*label.key)).count();
    let fits = |(_, _, wanted_account, wanted): &&Entry| {
        *wanted_account == account
            && wanted.len() == own
            && wanted.iter().all(|(key, value)| labels.k8s(key) == Some(*value))
    };
    ENTRIES.iter().find(fits).map(|(plain, with_name, ..)| Identity(if named { *with_name } else { *plain }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;

    fn pod(account: &str, own: &[(&str, &str)]) -> Vec<Label> {
        let shared = [(NAMESPACE, SYSTEM), (SERVICE_ACCOUNT, account), (CLUSTER, "default")];
        shared.iter().chain(own).map(|(key, value)| Label::k8s(*key, *value)).collect()
    }

    #[test]
    fn exactly_the_labels_of_the_dns_servers() {
        let dns = [("k8s-app", "kube-dns")];
        let ask = |labels: Vec<Label>| number(&labels.into_iter().collect());
        assert_eq!(ask(pod("kube-dns", &dns)), Some(Identity(102)));
        assert_eq!(ask(pod("coredns", &dns)), Some(Identity(104)));
        let mut named = pod("coredns", &dns);
        named.push(Label::k8s(format!("{NAMESPACE_LABELS_PREFIX}kubernetes.io/metadata.name"), SYSTEM));
        assert_eq!(ask(named), Some(Identity(112)));
        assert_eq!(ask(pod("coredns", &[("k8s-app", "kube-dns"), ("x", "y")])), None);
        assert_eq!(ask(pod("other", &dns)), None);
        assert_eq!(ask(pod("coredns", &[("k8s-app", "other")])), None);
    }
}
