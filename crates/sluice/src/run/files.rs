//! The watched folder: which files there are, what they say, and whether that is new.

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// Folder of workloads.
pub const INVENTORY: &str = "inventory";

/// Folder of policies.
pub const POLICIES: &str = "policies";

/// Largest file that is read (a policy file of this size is refused with an error that says so).
const MAX_BYTES: u64 = 16 << 20;

/// One file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// As shown in messages and provenance: relative to the configuration folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All files of the folder, as read at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// Workloads, by name of file.
    pub inventory: Vec<SourceFile>,
    /// Policies, by name of file.
    pub policies: Vec<SourceFile>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

impl Sources {
    /// Reads everything below `dir`. What cannot be read is listed, not fatal.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let mut sources = Self::default();
        sources.inventory = sources.folder(dir, INVENTORY);
        sources.policies = sources.folder(dir, POLICIES);
        sources
    }

    fn folder(&mut self, dir: &Path, folder: &str) -> Vec<SourceFile> {
        let mut files = Vec::new();
        for path in documents(&dir.join(folder)) {
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            match read_text(&path) {
                Ok(text) => files.push(SourceFile { name, text }),
                Err(error) => self.unreadable.push((name, format!("{error:#}"))),
            }
        }
        files
    }

    /// A number that differs when any content differs.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in self.inventory.iter().chain(&self.policies) {
            (&file.name, &file.text).hash(&mut hasher);
        }
        self.unreadable.hash(&mut hasher);
        hasher.finish()
    }
}

/// The YAML and JSON files of a folder, sorted, without hidden ones.
#[must_use]
pub fn documents(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let known = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
            !hidden && known && path.is_file()
        })
        .collect();
    paths.sort();
    paths
}

/// Reads a text of bounded size.
///
/// # Errors
/// When it is unreadable, too large, or no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).context("look at the file")?.len();
    anyhow::ensure!(size <= MAX_BYTES, "{size} bytes are more than the {MAX_BYTES} that are read");
    std::fs::read_to_string(path).context("read the file")
}

/// Calls `changed` after anything below `dir` changed, possibly often; the answer lives as long as the watching.
///
/// # Errors
/// When the folder cannot be watched.
pub fn watch(dir: &Path, changed: impl Fn() + Send + 'static) -> Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Opening and reading are events too, and we do both. An error means that events were lost.
        if event
            .map_or(true, |event| !event.kind.is_access() && event.paths.iter().any(|path| is_source(path)))
        {
            changed();
        }
    })
    .context("watch the configuration folder")?;
    watcher.watch(dir, RecursiveMode::Recursive).with_context(|| format!("watch {}", dir.display()))?;
    Ok(watcher)
}

/// Whether a path is in one of the two folders, or is one of them.
fn is_source(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == INVENTORY || part.as_os_str() == POLICIES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_visible_yaml_and_json_files_count_and_only_their_contents() {
        let dir = tempfile::tempdir().expect("a folder");
        let policies = dir.path().join(POLICIES);
        fs::create_dir(&policies).expect("a folder");
        for name in ["b.yaml", "a.json", ".hidden.yaml", "notes.txt", "c.yml"] {
            fs::write(policies.join(name), name).expect("write");
        }
        let sources = Sources::read(dir.path());
        let names: Vec<&str> = sources.policies.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["policies/a.json", "policies/b.yaml", "policies/c.yml"]);
        let before = sources.fingerprint();
        fs::write(policies.join("notes.txt"), "more").expect("write");
        fs::write(policies.join("b.yaml"), "b.yaml").expect("write");
        assert_eq!(Sources::read(dir.path()).fingerprint(), before, "a touched file is not a changed one");
        fs::write(policies.join("b.yaml"), "other").expect("write");
        assert_ne!(Sources::read(dir.path()).fingerprint(), before);
    }

    #[test]
    fn what_cannot_be_read_is_listed() {
        let dir = tempfile::tempdir().expect("a folder");
        let policies = dir.path().join(POLICIES);
        fs::create_dir(&policies).expect("a folder");
        fs::write(policies.join("binary.yaml"), [0xff, 0xfe, 0x00]).expect("write");
        let sources = Sources::read(dir.path());
        assert!(sources.policies.is_empty());
        assert_eq!(sources.unreadable.len(), 1);
        assert_eq!(sources.unreadable[0].0, "policies/binary.yaml");
    }
}
