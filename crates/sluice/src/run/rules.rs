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
use std::collections::{BTreeMap, HashSet};
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
    /// What is wrong with workloads, and which of their files could not be read.
    inventory_errors: Vec<String>,
    /// What is wrong with, and odd about, each policy file.
    findings: BTreeMap<String, Findings>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Errors and warnings of one file.
#[derive(Debug, Default)]
struct Findings {
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
            inventory_errors: Vec::new(),
            findings: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Puts in force what the files say, as far as it is right. Findings are logged once and kept.
    pub fn load(&mut self, sources: &Sources) {
        self.inventory_errors.clear();
        self.load_inventory(sources);
        self.load_policies(sources);
        self.tell(sources);
    }

    /// The same, where only these files are not as they were. Answers whether that left the workloads alone.
    pub fn update(&mut self, sources: &Sources, touched: &[String]) -> bool {
        if touched.iter().any(|name| !name.starts_with(super::files::POLICIES)) {
            self.load(sources);
            return false;
        }
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for name in touched {
            self.findings.remove(name);
            let at = sources.policies.binary_search_by(|file| file.name.cmp(name));
            let text = match at.ok().and_then(|at| sources.policies.get(at)) {
                Some(file) => file.text.clone(),
                None if sources.unreadable.iter().any(|(other, _)| other == name) => {
                    self.texts.get(name).cloned().unwrap_or_else(|| UNREADABLE.to_owned())
                }
                None => {
                    self.texts.remove(name);
                    gone.push(name.clone());
                    continue;
                }
            };
            self.texts.insert(name.clone(), text.clone());
            changed.push(policy::engine::SourceFile { path: name.clone(), text });
        }
        let report = self.engine.update_policies(changed, &gone);
        self.note(&report);
        self.tell(sources);
        true
    }

    /// Keeps what a report says of its files.
    fn note(&mut self, report: &policy::engine::Report) {
        for found in report.diagnostics() {
            let findings = self.findings.entry(found.file.to_string()).or_default();
            match found.severity {
                Severity::Error => findings.errors.push(found.to_string()),
                Severity::Warning => findings.warnings.push(found.to_string()),
            }
        }
    }

    /// Gathers what there is to say, and logs what is new about it.
    fn tell(&mut self, sources: &Sources) {
        let errors = sources.unreadable.iter().map(|(name, error)| format!("{name}: {error}"));
        let errors = errors.chain(self.inventory_errors.iter().cloned());
        let findings = self.findings.values();
        let errors = errors.chain(findings.clone().flat_map(|found| &found.errors).cloned()).collect();
        let mut warnings: Vec<String> = findings.flat_map(|found| &found.warnings).cloned().collect();
        let beyond = self.engine.pods_beyond_range();
        if beyond > 0 {
            warnings.push(format!(
                "{beyond} pods have no identity of the cluster's range, which is used up: their labels count on this node only"
            ));
        }
        let before = std::mem::replace(&mut self.errors, errors);
        let warned = std::mem::replace(&mut self.warnings, warnings);
        let new = |now: &[String], before: &[String]| -> Vec<String> {
            let before: HashSet<&String> = before.iter().collect();
            now.iter().filter(|found| !before.contains(found)).cloned().collect()
        };
        for error in new(&self.errors, &before) {
            tracing::error!("{error}");
        }
        for warning in new(&self.warnings, &warned) {
            tracing::warn!("{warning}");
        }
        for error in new(&before, &self.errors) {
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
                    self.inventory_errors.extend(errors.iter().map(ToString::to_string));
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
        self.findings.clear();
        self.note(&report);
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
    fn changes_of_single_files_are_as_good_as_everything() {
        let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
        let mut sources = sources(INVENTORY, OPEN);
        let mut rules = rules();
        rules.load(&sources);
        let touched = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(is_open(&rules));
        sources.policies[0].text = OPEN.replace("fromEntities: [all]", "fromEntities: [host]");
        assert!(rules.update(&sources, &touched(&["policies/a.yaml"])));
        assert!(!is_open(&rules) && rules.errors().is_empty());
        let second = OPEN.replace("name: web, namespace", "name: web2, namespace");
        sources.policies.push(file("policies/b.yaml", &second));
        rules.update(&sources, &touched(&["policies/b.yaml"]));
        assert!(is_open(&rules));
        sources.policies[1].text = "{".to_owned();
        rules.update(&sources, &touched(&["policies/b.yaml"]));
        assert!(is_open(&rules), "the last good version stays");
        assert!(
            rules.errors().iter().any(|error| error.starts_with("policies/b.yaml:")),
            "{:?}",
            rules.errors()
        );
        sources.policies.pop();
        sources.unreadable.push(("policies/b.yaml".into(), "no".into()));
        rules.update(&sources, &touched(&["policies/b.yaml"]));
        assert!(is_open(&rules) && rules.errors().contains(&"policies/b.yaml: no".to_owned()));
        sources.unreadable.clear();
        rules.update(&sources, &touched(&["policies/b.yaml"]));
        assert!(!is_open(&rules) && rules.errors().is_empty(), "{:?}", rules.errors());
        sources.inventory[0].text = "pods: []\n".to_owned();
        assert!(!rules.update(&sources, &touched(&["inventory/a.yaml"])));
        assert!(rules.inventory().pods.is_empty());
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
