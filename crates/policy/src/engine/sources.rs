//! Files of policies → documents in force.
//!
//! A document that is rejected never weakens what is enforced: while its last good version is known, that one stays;
//! at the first load its endpoints are quarantined. A file whose text did not change is not read again.

use super::{Engine, Map, Quarantine};
use crate::document::{self, Diagnostic, DocumentStatus, Outcome};
use crate::provenance::Provenance;
use crate::rule::{CidrGroup, GroupRef, Peer, Peers, Policy, Rule, Subject};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One file of policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// Path, as it is to appear in messages.
    pub path: String,
    /// Contents.
    pub text: String,
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every document of every file, files by path.
    pub documents: Vec<DocumentReport>,
}

/// One document and what is in force of it.
#[derive(Clone, Debug)]
pub struct DocumentReport {
    /// The file.
    pub file: Arc<str>,
    /// What the reader says.
    pub status: Arc<DocumentStatus>,
    /// For a rejected document, what is enforced in its place.
    pub instead: Option<Instead>,
}

/// What is enforced in place of a rejected document.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Instead {
    /// The last good version.
    LastGood,
    /// Nothing may pass at the endpoints that it selects or may select.
    Quarantine,
    /// Nothing: it is new, and what was in force stays in force.
    Nothing,
}

impl Report {
    /// Every finding.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.documents.iter().flat_map(|document| &document.status.diagnostics)
    }

    /// Whether no document was rejected.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.documents.iter().all(|document| document.status.outcome != Outcome::Rejected)
    }
}

/// What is kept of the files between loads.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: BTreeMap<Arc<str>, File>,
    /// Whether a first load has happened.
    started: bool,
}

#[derive(Debug, Default)]
struct File {
    text: String,
    policies: Vec<Arc<Policy>>,
    groups: Vec<CidrGroup>,
    quarantine: Vec<Quarantine>,
    reports: Vec<DocumentReport>,
}

/// Kind, namespace and name as texts, because a rejected document has no more.
type ObjectName = (String, String, String);

impl Engine {
    /// Puts the policies of exactly these files in force.
    pub fn set_policies(&mut self, files: Vec<SourceFile>) -> Report {
        self.load(files, false)
    }

    /// The same, but rejected documents are left out and quarantine nothing: for offline commands.
    pub fn set_rejecting(&mut self, files: Vec<SourceFile>) -> Report {
        self.load(files, true)
    }

    /// Puts the policies of these files in force beside those of the others, and takes those of the files in `gone`
    /// away. Reports about these files only.
    pub fn update_policies(&mut self, files: Vec<SourceFile>, gone: &[String]) -> Report {
        let options = self.reading();
        let first = !std::mem::replace(&mut self.sources.started, true);
        let mut changed = BTreeMap::new();
        let mut documents = Vec::new();
        for source in files {
            let (path, old) = match self.sources.files.remove_entry(source.path.as_str()) {
                Some((path, old)) => (path, old),
                None => (source.path.as_str().into(), File::default()),
            };
            let file = match old.text == source.text {
                true => old,
                false => File::read(&path, source.text, old, first, &options),
            };
            changed.insert(Arc::clone(&path), file.policies.clone());
            documents.extend(file.reports.iter().cloned());
            self.sources.files.insert(path, file);
        }
        for path in gone {
            if let Some((path, _)) = self.sources.files.remove_entry(path.as_str()) {
                changed.insert(path, Vec::new());
            }
        }
        self.put_in_force(changed);
        Report { documents }
    }

    fn reading(&self) -> document::Options {
        document::Options {
            empty_list: self.options.empty_list,
            cluster: self.options.scope_to_cluster.then(|| Arc::clone(&self.options.cluster)),
            max_file_bytes: self.options.max_file_bytes,
        }
    }

    fn load(&mut self, files: Vec<SourceFile>, rejecting: bool) -> Report {
        let options = self.reading();
        let mut before = std::mem::take(&mut self.sources.files);
        let first = !std::mem::replace(&mut self.sources.started, true) && !rejecting;
        let mut changed = BTreeMap::new();
        for source in files {
            let (path, old) = match before.remove_entry(source.path.as_str()) {
                Some((path, old)) => (path, Some(old)),
                None => (source.path.as_str().into(), None),
            };
            let file = match old {
                Some(old) if old.text == source.text => old,
                old => {
                    let file = File::read(&path, source.text, old.unwrap_or_default(), first, &options);
                    changed.insert(Arc::clone(&path), file.policies.clone());
                    file
                }
            };
            self.sources.files.insert(path, file);
        }
        changed.extend(before.into_keys().map(|path| (path, Vec::new())));
        let documents = self.sources.files.values().flat_map(|file| &file.reports).cloned().collect();
        self.put_in_force(changed);
        Report { documents }
    }

    /// Compiles what changed, with the groups and the quarantines of all files.
    fn put_in_force(&mut self, changed: BTreeMap<Arc<str>, Vec<Arc<Policy>>>) {
        let files = self.sources.files.values();
        let groups = files.clone().flat_map(|file| &file.groups).cloned().collect();
        let mut quarantine: Vec<Quarantine> =
            files.clone().flat_map(|file| &file.quarantine).cloned().collect();
        for lost in quarantine.iter_mut().filter(|held| held.policy.kind == "CiliumCIDRGroup") {
            lost.subjects = denied_by_group(files.clone().flat_map(|file| &file.policies), &lost.policy.name);
        }
        self.replace_documents(changed, groups, quarantine);
    }
}

impl File {
    fn read(path: &Arc<str>, text: String, old: Self, first: bool, options: &document::Options) -> Self {
        let loaded = document::load(&text, path, options);
        let mut policies: Vec<Arc<Policy>> = loaded.policies.into_iter().map(Arc::new).collect();
        let mut groups = loaded.cidr_groups;
        let new_names: Vec<ObjectName> =
            policies.iter().map(|p| policy_name(p)).chain(groups.iter().map(group_name)).collect();
        let mut kept: Map<ObjectName, ()> = Map::default();
        let (mut quarantine, mut reports) = (Vec::new(), Vec::new());
        for status in loaded.documents {
            let mut instead = None;
            if status.outcome == Outcome::Rejected {
                let name = (status.kind.clone(), status.namespace.clone(), status.name.clone());
                // Without a name it may be any of those that this file no longer holds.
                let stands_for = |other: &ObjectName| {
                    *other == name || (status.name.is_empty() && !new_names.contains(other))
                };
                let good: Vec<_> = old.policies.iter().filter(|p| stands_for(&policy_name(p))).collect();
                let good_groups: Vec<_> =
                    old.groups.iter().filter(|group| stands_for(&group_name(group))).collect();
                let held = old.quarantine.iter().any(|q| same_object(&q.policy, &name));
                let found = !good.is_empty() || !good_groups.is_empty();
                for policy in good {
                    if kept.insert(policy_name(policy), ()).is_none() {
                        policies.push(Arc::clone(policy));
                    }
                }
                for group in good_groups {
                    if kept.insert(group_name(group), ()).is_none() {
                        groups.push(group.clone());
                    }
                }
                instead = Some(match found {
                    true => Instead::LastGood,
                    false if first || held => Instead::Quarantine,
                    false => Instead::Nothing,
                });
                if instead == Some(Instead::Quarantine) {
                    quarantine.push(Quarantine {
                        subjects: status.may_select.clone(),
                        policy: provenance(path, &status),
                    });
                }
            }
            reports.push(DocumentReport { file: Arc::clone(path), status: Arc::new(status), instead });
        }
        Self { text, policies, groups, quarantine, reports }
    }
}

/// Whom policies protect from the addresses of a CIDR group: without the group those denials would be void.
fn denied_by_group<'a>(policies: impl Iterator<Item = &'a Arc<Policy>>, group: &str) -> Vec<Subject> {
    let names = |peer: &Peer| match peer {
        Peer::CidrGroup { group: GroupRef::Name(name), .. } => **name == *group,
        // The labels of the group could not be read.
        Peer::CidrGroup { group: GroupRef::Selector(_), .. } => true,
        _ => false,
    };
    let denies = |rule: &&Rule| {
        rule.ingress.iter().chain(&rule.egress).filter(|entry| entry.deny).any(|entry| match &entry.peers {
            Peers::List(list) => list.iter().any(names),
            Peers::Any | Peers::None => false,
        })
    };
    policies.flat_map(|policy| &policy.rules).filter(denies).map(|rule| rule.subject.clone()).collect()
}

fn policy_name(policy: &Policy) -> ObjectName {
    (policy.kind.as_str().to_owned(), policy.namespace.to_string(), policy.name.to_string())
}

fn group_name(group: &CidrGroup) -> ObjectName {
    ("CiliumCIDRGroup".to_owned(), String::new(), group.name.to_string())
}

fn same_object(policy: &Provenance, name: &ObjectName) -> bool {
    (&policy.kind, &policy.namespace, &policy.name) == (&name.0, &name.1, &name.2)
}

fn provenance(path: &Arc<str>, status: &DocumentStatus) -> Provenance {
    Provenance {
        kind: status.kind.clone(),
        namespace: status.namespace.clone(),
        name: status.name.clone(),
        file: path.to_string(),
        line: status.line,
    }
}
