//! Which metrics are made of flows: `sluice.yaml`, or `metrics.yaml` beside it, which may change at any time.

use crate::config::{ConfigError, Metrics};
use crate::run::files::read_text;
use flowlog::metrics::{Dynamic, MetricsConfig};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Name of the file in the configuration folder.
pub const FILE: &str = "metrics.yaml";

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The file, and what it looked like when it was last read.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    fallback: MetricsConfig,
    seen: Option<(SystemTime, u64)>,
}

impl Watched {
    /// Reads the file, where there is one.
    ///
    /// # Errors
    /// When it, or the list in `sluice.yaml`, is wrong.
    pub fn open(dir: &Path, config: &Metrics) -> Result<(Self, MetricsConfig), ConfigError> {
        let path = dir.join(FILE);
        let fallback = MetricsConfig::parse(&config.hubble.enabled)
            .map_err(|error| ConfigError::at(&dir.join(crate::config::FILE), None, error.to_string()))?;
        let seen = stamp(&path);
        let mut watched = Self { path, fallback, seen };
        let now = watched.read()?;
        Ok((watched, now))
    }

    /// What is wanted now, if the file is not as it was.
    pub fn changed(&mut self) -> Option<Result<MetricsConfig, ConfigError>> {
        let seen = stamp(&self.path);
        (seen != self.seen).then(|| {
            self.seen = seen;
            self.read()
        })
    }

    fn read(&mut self) -> Result<MetricsConfig, ConfigError> {
        if self.seen.is_none() {
            return Ok(self.fallback.clone());
        }
        let wrong = |line, message| ConfigError::at(&self.path, line, message);
        let text = read_text(&self.path, MAX_BYTES).map_err(|error| wrong(None, format!("{error:#}")))?;
        let dynamic: Dynamic =
            serde_yaml::from_str(&text).map_err(|error| ConfigError::yaml(&self.path, &error))?;
        MetricsConfig::from_dynamic(&dynamic).map_err(|error| {
            let error = error.to_string();
            wrong(place(&text, &error), error)
        })
    }
}

/// Where the last word in backticks before the advice stands.
fn place(text: &str, error: &str) -> Option<(usize, usize)> {
    let told = error.split("; ").next().unwrap_or(error);
    let word = told.split('`').skip(1).step_by(2).last()?;
    text.lines().enumerate().find_map(|(line, content)| Some((line + 1, content.find(word)? + 1)))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_replaces_the_list_while_it_is_there_and_right() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Metrics::default();
        config.hubble.enabled = vec!["tcp".into()];
        let (mut watched, first) = Watched::open(dir.path(), &config).expect("valid");
        assert_eq!(first.names().collect::<Vec<_>>(), ["tcp"]);
        assert!(watched.changed().is_none());
        let file = dir.path().join(FILE);
        std::fs::write(
            &file,
            "metrics:\n- name: drop\n  contextOptions:\n  - {name: sourceContext, values: [pod]}\n",
        )
        .expect("write");
        let now = watched.changed().expect("changed").expect("valid");
        assert_eq!(now.names().collect::<Vec<_>>(), ["drop"]);
        for (text, expected) in [
            ("metrics:\n- name: drops\n", "metrics.yaml:2:9: unknown metric `drops`; did you mean `drop`?"),
            (
                "metrics:\n- name: drop\n  contextOptions:\n  - {name: sourceContext, values: [pood]}\n",
                "metrics.yaml:4:36: metric `drop`: option `sourceContext`: unknown value `pood`; did you mean `pod`?",
            ),
            (
                "metrics:\n- nam: drop\n",
                "metrics.yaml:2:3: metrics[0]: unknown field `nam`, expected one of `name`, \
              `contextOptions`, `includeFilters`, `excludeFilters`; did you mean `name`?",
            ),
        ] {
            std::fs::write(&file, text).expect("write");
            let error = watched.changed().expect("changed").expect_err("wrong").to_string();
            assert_eq!(error, dir.path().join(expected).display().to_string());
        }
        std::fs::remove_file(&file).expect("removed");
        let now = watched.changed().expect("changed").expect("valid");
        assert_eq!(now.names().collect::<Vec<_>>(), ["tcp"]);
        std::fs::write(&file, "metrics: [{name: nothing}]\n").expect("write");
        assert!(Watched::open(dir.path(), &config).is_err(), "at the start there is nothing to go on with");
    }
}
