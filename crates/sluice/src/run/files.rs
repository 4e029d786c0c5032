//! The watched folder: which files there are, what they say, and whether that is new.

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Folder of workloads.
pub const INVENTORY: &str = "inventory";

/// Folder of policies.
pub const POLICIES: &str = "policies";

/// Largest file of workloads that is read: some 200,000 pods.
pub const MAX_INVENTORY: u64 = 64 << 20;

/// Largest file of policies that is read.
pub const MAX_POLICIES: u64 = policy::document::MAX_FILE_BYTES as u64;

/// A file of more bytes than are read.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than the {max} bytes that are read")]
pub struct TooLarge {
    /// How many are.
    pub max: u64,
}

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
        sources.inventory = sources.folder(dir, INVENTORY, MAX_INVENTORY);
        sources.policies = sources.folder(dir, POLICIES, MAX_POLICIES);
        sources
    }

    /// Reads these files again, whether they are there or not. Answers the names of those that are not as they were.
    pub fn refresh(&mut self, dir: &Path, changed: &BTreeSet<PathBuf>) -> Vec<String> {
        let mut touched = Vec::new();
        for path in changed {
            let name = path.strip_prefix(dir).unwrap_or(path).display().to_string();
            let (list, max) = match name.starts_with(POLICIES) {
                true => (&mut self.policies, MAX_POLICIES),
                false => (&mut self.inventory, MAX_INVENTORY),
            };
            let (now, error) = match is_document(path).then(|| read_text(path, max)) {
                Some(Ok(text)) => (Some(text), None),
                Some(Err(error)) => (None, Some(format!("{error:#}"))),
                None => (None, None),
            };
            let at = list.binary_search_by(|file| file.name.cmp(&name));
            let before = self.unreadable.iter().position(|(other, _)| *other == name);
            let before = before.map(|at| self.unreadable.remove(at));
            match (now, at) {
                (Some(text), Ok(at)) if list[at].text == text => continue,
                (Some(text), Ok(at)) => list[at].text = text,
                (Some(text), Err(at)) => list.insert(at, SourceFile { name: name.clone(), text }),
                (None, Ok(at)) => drop(list.remove(at)),
                (None, Err(_)) if before.is_none() && error.is_none() => continue,
                (None, Err(_)) => {}
            }
            self.unreadable.extend(error.map(|error| (name.clone(), error)));
            touched.push(name);
        }
        touched
    }

    fn folder(&mut self, dir: &Path, folder: &str, max: u64) -> Vec<SourceFile> {
        let mut files = Vec::new();
        for path in documents(&dir.join(folder)) {
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            match read_text(&path, max) {
                Ok(text) => files.push(SourceFile { name, text }),
                Err(error) => self.unreadable.push((name, format!("{error:#}"))),
            }
        }
        files
    }
}

/// What changed below the folder since somebody last looked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// Anything: links were moved, events were lost.
    Everything,
    /// These files and nothing else.
    Files(BTreeSet<PathBuf>),
}

/// Collects what changes, for one who looks later.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Mutex<Changed>>);

impl Default for Changes {
    fn default() -> Self {
        // What was read before the watching began may have changed meanwhile.
        Self(Arc::new(Mutex::new(Changed::Everything)))
    }
}

impl Changes {
    /// What changed since the last call.
    #[must_use]
    pub fn take(&self) -> Changed {
        std::mem::replace(&mut *self.lock(), Changed::Files(BTreeSet::new()))
    }

    /// Notes an event; answers whether it is of interest.
    fn note(&self, event: notify::Result<notify::Event>) -> bool {
        // Opening and reading are events too, and we do both. An error means that events were lost.
        let event = match event {
            Ok(event) if event.kind.is_access() => return false,
            Ok(event) if !event.need_rescan() => event,
            _ => {
                *self.lock() = Changed::Everything;
                return true;
            }
        };
        let mut noted = false;
        for path in event.paths {
            let folder = path.parent().and_then(Path::file_name);
            let inside = folder.is_some_and(|folder| folder == INVENTORY || folder == POLICIES);
            let settings = !inside && path.file_name().is_some_and(|name| name == crate::config::FILE);
            // Volumes swap a link called `..data`; other names are temporary files of editors.
            let swapped = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".."));
            let beside = settings || swapped && !inside;
            let mut changed = self.lock();
            if inside && is_document_name(&path) {
                if let Changed::Files(files) = &mut *changed {
                    files.insert(path);
                }
            } else if is_source(&path) && (!inside || swapped) {
                *changed = Changed::Everything;
            } else if !beside {
                continue;
            }
            noted = true;
        }
        noted
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The YAML and JSON files of a folder, sorted, without hidden ones.
#[must_use]
pub fn documents(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_document(path)).collect();
    paths.sort();
    paths
}

fn is_document(path: &Path) -> bool {
    is_document_name(path) && path.is_file()
}

fn is_document_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let known = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
    !hidden && known
}

/// Reads a text of at most `max` bytes. What is larger is not read, and no more than that is read of what does not say
/// how large it is, or grows meanwhile.
///
/// # Errors
/// [`TooLarge`], or when it is unreadable or no UTF-8.
pub fn read_text(path: &Path, max: u64) -> Result<String> {
    let file = std::fs::File::open(path).context("open the file")?;
    let size = file.metadata().context("look at the file")?.len();
    if size > max {
        return Err(TooLarge { max }.into());
    }
    let mut text = String::with_capacity(usize::try_from(size).unwrap_or(0));
    let read = file.take(max + 1).read_to_string(&mut text).context("read the file")?;
    if read as u64 > max {
        return Err(TooLarge { max }.into());
    }
    Ok(text)
}

/// Notes in `changes` what changes below `dir` and calls `ring` then, possibly often; the answer lives as long as the
/// watching.
///
/// # Errors
/// When the folder cannot be watched.
pub fn watch(
    dir: &Path,
    changes: Changes,
    ring: impl Fn() + Send + 'static,
) -> Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| {
        if changes.note(event) {
            ring();
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
        fs::write(policies.join("notes.txt"), "more").expect("write");
        fs::write(policies.join("b.yaml"), "b.yaml").expect("write");
        assert_eq!(Sources::read(dir.path()), sources, "a touched file is not a changed one");
        fs::write(policies.join("b.yaml"), "other").expect("write");
        assert_ne!(Sources::read(dir.path()), sources);
    }

    #[test]
    fn reading_what_changed_again_is_as_good_as_reading_everything() {
        let dir = tempfile::tempdir().expect("a folder");
        let (policies, inventory) = (dir.path().join(POLICIES), dir.path().join(INVENTORY));
        fs::create_dir(&policies).expect("a folder");
        fs::create_dir(&inventory).expect("a folder");
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            fs::write(policies.join(name), name).expect("write");
        }
        let mut sources = Sources::read(dir.path());
        let mut look = |names: &[&str], expected: &[&str]| {
            let paths: BTreeSet<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
            assert_eq!(sources.refresh(dir.path(), &paths), expected);
            let mut again = Sources::read(dir.path());
            again.unreadable.sort();
            sources.unreadable.sort();
            assert_eq!(sources, again);
        };
        look(&["policies/a.yaml", "policies/none.yaml"], &[]);
        fs::write(policies.join("b.yaml"), "new").expect("write");
        fs::remove_file(policies.join("a.yaml")).expect("remove");
        fs::write(policies.join("bb.yaml"), "bb").expect("write");
        fs::write(inventory.join("i.yaml"), "i").expect("write");
        look(
            &["policies/a.yaml", "policies/b.yaml", "policies/bb.yaml", "inventory/i.yaml"],
            &["inventory/i.yaml", "policies/a.yaml", "policies/b.yaml", "policies/bb.yaml"],
        );
        fs::write(policies.join("c.yaml"), [0xff]).expect("write");
        look(&["policies/c.yaml"], &["policies/c.yaml"]);
        fs::write(policies.join("c.yaml"), "c").expect("write");
        look(&["policies/c.yaml"], &["policies/c.yaml"]);
    }

    #[test]
    fn events_name_files_or_everything() {
        let changes = Changes::default();
        assert_eq!(changes.take(), Changed::Everything, "nobody watched before");
        let event = |path: &str| {
            let kind = notify::EventKind::Create(notify::event::CreateKind::Any);
            changes.note(Ok(notify::Event::new(kind).add_path(path.into())))
        };
        assert!(event("/e/policies/a.yaml") && event("/e/inventory/b.json"));
        assert!(!event("/e/policies/.a.yaml.swp") && !event("/e/policies/4913") && !event("/e/other.yaml"));
        assert!(event("/e/sluice.yaml") && event("/e/..data"), "the settings are looked at too");
        let files = ["/e/inventory/b.json", "/e/policies/a.yaml"].map(PathBuf::from);
        assert_eq!(changes.take(), Changed::Files(files.into()));
        assert_eq!(changes.take(), Changed::Files(BTreeSet::new()));
        for path in ["/e/policies/..data", "/e/policies", "/e/policies/deep/a.yaml"] {
            assert!(event(path) && event("/e/policies/a.yaml"), "{path}");
            assert_eq!(changes.take(), Changed::Everything, "{path}");
        }
        assert!(changes.note(Err(notify::Error::generic("lost"))));
        assert_eq!(changes.take(), Changed::Everything);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let policies = dir.path().join(POLICIES);
        fs::create_dir(&policies).expect("a folder");
        let big = fs::File::create(policies.join("big.yaml")).expect("a file");
        // Holes: reading it would take a terabyte.
        big.set_len(1 << 40).expect("a file system with holes");
        fs::write(policies.join("small.yaml"), "a").expect("write");
        let sources = Sources::read(dir.path());
        assert_eq!(sources.policies.len(), 1);
        assert_eq!(
            sources.unreadable,
            [("policies/big.yaml".into(), "more than the 8388608 bytes that are read".into())]
        );
        let endless = read_text(Path::new("/dev/zero"), 1 << 16).expect_err("endless");
        assert!(endless.downcast_ref::<TooLarge>().is_some(), "{endless:#}");
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
