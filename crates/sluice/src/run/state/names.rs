//! Names from DNS answers, in a file of their own: they change with every answer, connections with every packet.
//!
//! Times in the file are those of the system's clock, so that they mean the same to the next process. The file is
//! replaced whole, and only after its bytes are on the disk, so that a crash of the machine leaves one version or the
//! other.

use crate::run::fqdn;
use crate::run::rules::Rules;
use crate::run::shared::Shared;
use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use policy::PolicySnapshot;
use policy::fqdn::{FqdnState, SavedName};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Version of the format; another one is not read.
const VERSION: u32 = 1;

/// Name of the file in the state folder.
const FILE: &str = "fqdn.json";

/// Largest file that is read back: a million names with a few addresses each.
const MAX_BYTES: u64 = 256 << 20;

/// Shortest time between two writes, since each waits for the disk.
const REST: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    names: Vec<SavedName>,
}

/// The file of names.
pub(super) struct NamesFile {
    path: PathBuf,
    loaded: Option<FqdnState>,
    /// What was written last, and when.
    written: Option<(Arc<PolicySnapshot>, Instant)>,
}

impl NamesFile {
    /// Reads what an earlier process left.
    pub(super) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let loaded = match read(&path) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(file = %path.display(), "saved names are not used: {error:#}");
                None
            }
        };
        Self { path, loaded, written: None }
    }

    /// Gives the engine its names back.
    pub(super) fn restore(&mut self, rules: &mut Rules, now: u64) {
        let Some(state) = self.loaded.take() else { return };
        rules.engine_mut().import_fqdns(&state, now);
        let restored = rules.snapshot().fqdn.names().len();
        tracing::info!(restored, total = state.names.len(), "names restored");
    }

    /// Writes the file if names changed since the last time and that is a while ago, or this is the `last` chance.
    pub(super) fn save(&mut self, shared: &Shared, last: bool) -> Result<()> {
        let policy = Arc::clone(&shared.snapshot.load().policy);
        if let Some((written, when)) = &self.written
            && (Arc::ptr_eq(written, &policy) || (when.elapsed() < REST && !last))
        {
            return Ok(());
        }
        // Names count on from the start of the process; whoever set the clock meanwhile must not make them last.
        let moved = Timestamp::now().as_second().saturating_sub_unsigned(fqdn::seconds(&shared.clock));
        let state = FqdnState::new(policy.fqdn.names().iter().map(|name| &**name)).moved(moved);
        write(&self.path, state)?;
        self.written = Some((policy, Instant::now()));
        Ok(())
    }

    /// Removes the file.
    pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
        std::fs::remove_file(folder.join(FILE))
    }
}

fn write(path: &Path, state: FqdnState) -> Result<()> {
    let folder = path.parent().context("the file of names has no folder")?;
    std::fs::create_dir_all(folder).context("make the state folder")?;
    let new = path.with_extension("json.new");
    let _ = std::fs::remove_file(&new);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut writer = std::io::BufWriter::new(file.context("create names")?);
    serde_json::to_writer(&mut writer, &Saved { version: VERSION, names: state.names })
        .context("write names")?;
    writer.flush().context("write names")?;
    writer.get_ref().sync_all().context("write names")?;
    std::fs::rename(&new, path).context("replace names")?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).context("replace names")
}

fn read(path: &Path) -> Result<Option<FqdnState>> {
    let size = match std::fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("look at the file"),
    };
    ensure!(size <= MAX_BYTES, "larger than {MAX_BYTES} bytes");
    let text = std::fs::read(path).context("read")?;
    let saved: Saved = serde_json::from_slice(&text).context("read")?;
    ensure!(saved.version == VERSION, "version {} is not {VERSION}", saved.version);
    Ok(Some(FqdnState { names: saved.names }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use policy::fqdn::Answer;

    fn rules() -> Rules {
        Rules::new(&Config::default(), "n1")
    }

    #[test]
    fn names_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut before = rules();
        let addresses = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let answer =
            Answer { name: "a.example", addresses: &addresses, cnames: &[], ttl: 60, endpoint: None };
        before.engine_mut().learn_fqdns([answer], 1_000);
        let state = || FqdnState::new(before.snapshot().fqdn.names().iter().map(|name| &**name));
        let path = folder.path().join(FILE);
        write(&path, state()).expect("written");
        write(&path, state()).expect("written over");
        let mut after = rules();
        NamesFile::open(folder.path()).restore(&mut after, 1_010);
        assert_eq!(after.snapshot().fqdn.names(), before.snapshot().fqdn.names());
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
        assert_eq!(left.len(), 1, "no half-written file stays");
        NamesFile::remove(folder.path()).expect("there");
        assert!(NamesFile::open(folder.path()).loaded.is_none());
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let wrong = [
            "",
            "null",
            "{\"version\": 1, \"names\": [",
            "{\"version\": 2, \"names\": []}",
            "{\"version\": 1, \"names\": [], \"more\": 1}",
            "{\"version\": 1, \"names\": [{\"name\": \"a\"}]}",
            "{\"version\": 1, \"names\": [{\"name\": \"a\", \"seen\": 1, \"addresses\": [{\"ip\": \"1.2.3\", \"expires\": 1}]}]}",
            "{\"version\": 1, \"names\": [{\"name\": \"a\", \"seen\": -1, \"addresses\": []}]}",
        ];
        for text in wrong {
            std::fs::write(&path, text).expect("written");
            let mut file = NamesFile::open(folder.path());
            let mut rules = rules();
            file.restore(&mut rules, 1_000);
            assert!(rules.snapshot().fqdn.names().is_empty(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).expect("still there"), text);
        }
        std::fs::write(&path, [b'[', 0xff, 0xfe]).expect("written");
        assert!(NamesFile::open(folder.path()).loaded.is_none());
    }
}
