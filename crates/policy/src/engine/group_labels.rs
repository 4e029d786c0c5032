//! What addresses are called after the CIDR groups that they lie in.

use crate::label::{Label, Source};
use crate::rule::CidrGroup;
use hashbrown::HashMap;
use ipnet::IpNet;

/// Before the name of a group in a label's key, as in Cilium.
const NAME_PREFIX: &str = "io.cilium.policy.cidrgroupname/";

/// Labels by prefix of a group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct GroupLabels {
    by_prefix: HashMap<IpNet, Vec<Label>, foldhash::fast::RandomState>,
}

impl GroupLabels {
    pub(super) fn new(groups: &[CidrGroup]) -> Self {
        let mut by_prefix: HashMap<IpNet, Vec<Label>, foldhash::fast::RandomState> = HashMap::default();
        for group in groups {
            let name = Label::new(Source::CidrGroup, format!("{NAME_PREFIX}{}", group.name), "");
            for prefix in &group.prefixes {
                let labels = by_prefix.entry(*prefix).or_default();
                labels.push(name.clone());
                labels.extend(group.labels.iter().cloned());
            }
        }
        Self { by_prefix }
    }

    /// The labels of all groups with a prefix around `prefix`.
    pub(super) fn around(&self, prefix: &IpNet) -> Vec<Label> {
        if self.by_prefix.is_empty() {
            return Vec::new();
        }
        let wider = (0..=prefix.prefix_len()).filter_map(|bits| IpNet::new(prefix.addr(), bits).ok());
        wider.filter_map(|net| self.by_prefix.get(&net.trunc())).flatten().cloned().collect()
    }
}
