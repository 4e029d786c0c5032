//! `sluice.yaml` while the service runs: what can change at once does, and the rest is named and waits for a restart.
//!
//! A wrong file changes nothing. A right one is taken as a whole: all that can change at once changes together.

use crate::config::{Config, FILE};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Keys that take effect at once.
const LIVE: [&str; 2] = ["log.level", "visibility"];

/// The file as it is in force, and what waits.
#[derive(Debug)]
pub struct Settings {
    dir: PathBuf,
    in_force: Config,
    /// Keys in the file that wait for a restart.
    waiting: BTreeSet<String>,
    /// What is wrong with the file.
    error: Option<String>,
}

impl Settings {
    /// As they were read at the start.
    #[must_use]
    pub fn new(dir: &Path, in_force: Config) -> Self {
        Self { dir: dir.to_owned(), in_force, waiting: BTreeSet::new(), error: None }
    }

    /// Reads the file again; answers what is in force from now on, if that is new.
    pub fn reload(&mut self) -> Option<&Config> {
        let new = match Config::load(&self.dir) {
            Ok(new) => new,
            Err(error) => {
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    tracing::error!("{error}; what is in force stays");
                }
                self.error = Some(error);
                return None;
            }
        };
        if self.error.take().is_some() {
            tracing::info!("{FILE} is right again");
        }
        let changed = differences(&self.in_force, &new);
        let (live, waiting): (BTreeSet<_>, BTreeSet<_>) = changed.into_iter().partition(|key| is_live(key));
        for key in waiting.difference(&self.waiting) {
            tracing::warn!("{FILE}: changed {key} needs a restart");
        }
        self.waiting = waiting;
        if live.is_empty() {
            return None;
        }
        self.in_force.visibility = new.visibility;
        self.in_force.log.level = new.log.level;
        tracing::info!(changed = Vec::from_iter(live).join(", "), "{FILE} in force");
        Some(&self.in_force)
    }

    /// What is wrong with the file.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Keys in the file that wait for a restart.
    #[must_use]
    pub fn waiting(&self) -> &BTreeSet<String> {
        &self.waiting
    }
}

fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

/// Keys with different values, as they are written: `log.level`.
fn differences(before: &Config, now: &Config) -> BTreeSet<String> {
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    let mut found = BTreeSet::new();
    compare("", &value(before), &value(now), &mut found);
    found
}

fn compare(at: &str, before: &Value, now: &Value, found: &mut BTreeSet<String>) {
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let none = &Value::Null;
                compare(&path, a.get(key).unwrap_or(none), b.get(key).unwrap_or(none), found);
            }
        }
        (a, b) if a != b => {
            found.insert(at.to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn what_can_change_does_and_the_rest_waits() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |text: &str| std::fs::write(dir.path().join(FILE), text).expect("written");
        write("node: {name: a}\n");
        let begin = Config::load(dir.path()).expect("right");
        let mut settings = Settings::new(dir.path(), begin.clone());
        assert_eq!(settings.reload(), None, "nothing changed");

        write("node: {name: a}\nlog: {level: debug}\nvisibility: [{port: 80, protocol: http}]\n");
        let now = settings.reload().expect("in force").clone();
        assert_eq!((now.log.level, now.visibility.len()), (LogLevel::Debug, 1));
        let same = Config { log: begin.log.clone(), visibility: Vec::new(), ..now };
        assert_eq!(same, begin, "nothing else is");
        assert!(settings.waiting().is_empty());

        // Both at once: the one is in force, the others wait; taken back, they do not.
        write("node: {name: b}\nlog: {level: warn}\npolicy: {auditMode: true}\nflowLog: {capacity: 100}\n");
        let now = settings.reload().expect("in force").clone();
        assert_eq!((now.log.level, now.visibility.len()), (LogLevel::Warn, 0));
        assert_eq!((now.node.name.as_str(), now.policy.audit_mode), ("a", false));
        let waiting: Vec<&str> = settings.waiting().iter().map(String::as_str).collect();
        assert_eq!(waiting, ["flowLog.capacity", "node.name", "policy.auditMode"]);
        write("node: {name: a}\nlog: {level: warn}\n");
        assert_eq!(settings.reload(), None);
        assert!(settings.waiting().is_empty());
    }

    #[test]
    fn a_wrong_file_changes_nothing_and_says_where() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |text: &str| std::fs::write(dir.path().join(FILE), text).expect("written");
        let mut settings = Settings::new(dir.path(), Config::default());
        write("log: {level: debug}\nvisibilty: []\n");
        assert_eq!(settings.reload(), None);
        let error = settings.error().expect("an error");
        assert!(error.contains("sluice.yaml:2:1: unknown field `visibilty`"), "{error}");
        write("log: {level: debug}\n");
        assert_eq!(settings.reload().map(|now| now.log.level), Some(LogLevel::Debug));
        assert_eq!(settings.error(), None);
        // A file that is gone means the defaults.
        std::fs::remove_file(dir.path().join(FILE)).expect("removed");
        assert_eq!(settings.reload().map(|now| now.log.level), Some(LogLevel::Info));
    }
}
