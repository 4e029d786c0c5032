//! Files → policy: reads documents and workloads, keeps the last good version of what is wrong, feeds the engine.
//!
//! A document that cannot be read never weakens what is enforced. If an earlier version of it is in force, that stays;
//! if there is none (at start-up), whoever it selects, or may select, is default-deny.

use super::files::Sources;
use crate::config::{Config, EmptyListMeans, EnforcementMode};
use policy::PolicySnapshot;
use policy::document::{self, EmptyList, Severity};
use policy::engine::{Engine, Options};
use policy::inventory::Inventory;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stands for the text of a policy file that cannot be read: no YAML, so whatever it may say counts as invalid.
const UNREADABLE: &str = "{";

/// The engine and what it was fed.
pub struct Rules {
    engine: Engine,
    /// Last texts of policy files, for those that cannot be read at the moment.
    texts: BTreeMap<String, String>,
    /// Last good workloads by file.
    workloads: BTreeMap<String, Inventory>,
    inventory: Inventory,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Rules {
    /// No documents, no workloads.
    #[must_use]
    pub fn new(config: &Config, node: &str) -> Self {
        let enforcement = match config.policy.enforcement_mode {
            EnforcementMode::Default => policy::engine::EnforcementMode::Default,
            EnforcementMode::Always => policy::engine::EnforcementMode::Always,
            EnforcementMode::Never => policy::engine::EnforcementMode::Never,
        };
        let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
        let options = Options {
            node_name: node.into(),
            cluster: config.node.cluster.as_str().into(),
            enforcement,
            audit: config.policy.audit_mode,
            audit_namespaces: names(&config.policy.audit_namespaces),
            audit_endpoints: names(&config.policy.audit_endpoints),
            empty_list: empty_list(config.policy.empty_list_means),
            ..Options::default()
        };
        Self {
            engine: Engine::new(options),
            texts: BTreeMap::new(),
            workloads: BTreeMap::new(),
            inventory: Inventory::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Puts in force what the files say, as far as it is right. Findings are logged once and kept.
    pub fn load(&mut self, sources: &Sources) {
        let (before, warned) = (std::mem::take(&mut self.errors), std::mem::take(&mut self.warnings));
        for (name, error) in &sources.unreadable {
            self.errors.push(format!("{name}: {error}"));
        }
        self.load_inventory(sources);
        self.load_policies(sources);
        for error in self.errors.iter().filter(|error| !before.contains(error)) {
            tracing::error!("{error}");
        }
        for warning in self.warnings.iter().filter(|warning| !warned.contains(warning)) {
            tracing::warn!("{warning}");
        }
        for error in before.iter().filter(|error| !self.errors.contains(error)) {
            tracing::info!("no longer: {error}");
        }
    }

    fn load_inventory(&mut self, sources: &Sources) {
        let mut now = BTreeMap::new();
        for file in &sources.inventory {
            match document::load_inventory(&file.text, &file.name) {
                Ok(inventory) => {
                    now.insert(file.name.clone(), inventory);
                }
                Err(errors) => {
                    self.errors.extend(errors.iter().map(ToString::to_string));
                    self.keep_workloads(&file.name, &mut now);
                }
            }
        }
        for (name, _) in &sources.unreadable {
            self.keep_workloads(name, &mut now);
        }
        self.workloads = now;
        let merged = merge(self.workloads.values());
        if merged != self.inventory {
            self.inventory = merged;
            self.engine.set_inventory(self.inventory.clone());
        }
    }

    fn keep_workloads(&self, name: &str, now: &mut BTreeMap<String, Inventory>) {
        if let Some(last) = self.workloads.get(name) {
            now.insert(name.to_owned(), last.clone());
        }
    }

    fn load_policies(&mut self, sources: &Sources) {
        let mut texts: BTreeMap<String, String> =
            sources.policies.iter().map(|file| (file.name.clone(), file.text.clone())).collect();
        for (name, _) in
            sources.unreadable.iter().filter(|(name, _)| name.starts_with(super::files::POLICIES))
        {
            let last = self.texts.get(name).cloned();
            texts.insert(name.clone(), last.unwrap_or_else(|| UNREADABLE.to_owned()));
        }
        let files = texts
            .iter()
            .map(|(path, text)| policy::engine::SourceFile { path: path.clone(), text: text.clone() });
        let report = self.engine.set_policies(files.collect());
        for found in report.diagnostics() {
            match found.severity {
                Severity::Error => self.errors.push(found.to_string()),
                Severity::Warning => self.warnings.push(found.to_string()),
            }
        }
        self.texts = texts;
    }

    /// Policy in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<PolicySnapshot> {
        self.engine.snapshot()
    }

    /// The engine, for what else it knows.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same, to restore identities.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Workloads in place.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What is wrong with files, as `file:line:col: error: …`.
    #[must_use]
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// What is odd about them.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What an explicit empty list means, as the reader of documents has it.
#[must_use]
pub fn empty_list(means: EmptyListMeans) -> EmptyList {
    match means {
        EmptyListMeans::Deny => EmptyList::Deny,
        EmptyListMeans::Nothing => EmptyList::Nothing,
    }
}

/// All files together.
#[must_use]
pub fn merge<'a>(parts: impl Iterator<Item = &'a Inventory>) -> Inventory {
    let mut all = Inventory::default();
    for part in parts {
        all.namespaces.extend(part.namespaces.iter().cloned());
        all.nodes.extend(part.nodes.iter().cloned());
        all.pods.extend(part.pods.iter().cloned());
        all.external.extend(part.external.iter().cloned());
        all.services.extend(part.services.iter().cloned());
        all.special.extend(part.special.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::files::SourceFile;
    use policy::{Direction, Verdict};

    const INVENTORY: &str =
        "pods: [{name: web, namespace: shop, labels: {app: web}, node: n1, ips: [10.0.0.1]}]\n";
    const OPEN: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: web, namespace: shop}\n\
                        spec: {endpointSelector: {matchLabels: {app: web}}, ingress: [{fromEntities: [all]}]}\n";

    fn sources(inventory: &str, policy: &str) -> Sources {
        let file = |name: &str, text: &str| vec![SourceFile { name: name.into(), text: text.into() }];
        Sources {
            inventory: file("inventory/a.yaml", inventory),
            policies: file("policies/a.yaml", policy),
            unreadable: Vec::new(),
        }
    }

    fn rules() -> Rules {
        Rules::new(&Config::default(), "n1")
    }

    /// Whether anybody may connect to the pod.
    fn is_open(rules: &Rules) -> bool {
        let endpoint = rules.engine().endpoint("shop", "web").expect("the pod is an endpoint");
        matches!(
            endpoint.map.lookup(Direction::Ingress, policy::Identity::WORLD_IPV4, 6, 80),
            Verdict::Allow(_)
        )
    }

    #[test]
    fn an_invalid_document_at_start_closes_what_it_selects() {
        let mut rules = rules();
        rules.load(&sources(INVENTORY, &OPEN.replace("fromEntities", "fromEntitys")));
        assert!(!is_open(&rules));
        assert!(
            rules.errors().iter().any(|error| error.starts_with("policies/a.yaml:4:")),
            "{:?}",
            rules.errors()
        );
    }

    #[test]
    fn an_invalid_document_later_leaves_the_last_good_one_in_force() {
        let mut rules = rules();
        rules.load(&sources(INVENTORY, OPEN));
        assert!(is_open(&rules) && rules.errors().is_empty());
        rules.load(&sources(INVENTORY, "{"));
        assert!(is_open(&rules) && !rules.errors().is_empty());
        rules.load(&sources(INVENTORY, &OPEN.replace("fromEntities: [all]", "fromEntities: [host]")));
        assert!(!is_open(&rules) && rules.errors().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_counts_as_invalid() {
        let unreadable = |mut sources: Sources| {
            sources.policies.clear();
            sources.unreadable.push(("policies/a.yaml".into(), "no".into()));
            sources
        };
        let mut fresh = rules();
        fresh.load(&unreadable(sources(INVENTORY, "")));
        assert!(!is_open(&fresh), "at start it may select anything");
        let mut running = rules();
        running.load(&sources(INVENTORY, OPEN));
        running.load(&unreadable(sources(INVENTORY, "")));
        assert!(is_open(&running), "later the last good version stays");
    }

    #[test]
    fn a_wrong_inventory_leaves_the_last_good_one_in_place() {
        let mut rules = rules();
        rules.load(&sources(INVENTORY, OPEN));
        rules.load(&sources("pods: [{nam: web}]\n", OPEN));
        assert_eq!(rules.inventory().pods.len(), 1);
        assert!(rules.errors()[0].starts_with("inventory/a.yaml:1:"), "{:?}", rules.errors());
        rules.load(&sources("pods: []\n", OPEN));
        assert!(rules.inventory().pods.is_empty() && rules.errors().is_empty());
    }
}
