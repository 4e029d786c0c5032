//! The folder of one testbed, which also marks its owner as alive.
//!
//! `/run/sluice-testbed/TAG/` holds the configuration, logs and data of one run. Its file `owner` is locked for as
//! long as the process that made it lives, however it ends, so that [`cleanup`] can tell a crashed run from a
//! running one. A folder with a file `kept` belongs to `sluice demo --keep`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::netns;

/// Parent of all run folders.
const BASE: &str = "/run/sluice-testbed";
/// Every namespace of every testbed begins with this.
const NETNS_PREFIX: &str = "sltb-";
/// Where pinned programs and maps of a run live: this and the tag.
const PIN_PREFIX: &str = "/sys/fs/bpf/sluice-";

/// The folder of a running testbed; removed when dropped, with what is pinned for it.
#[derive(Debug)]
pub struct RunDir {
    tag: String,
    path: PathBuf,
    keep: bool,
    _owner: File,
}

impl RunDir {
    /// Makes a folder with a tag no other run has.
    ///
    /// # Errors
    /// `/run` is not writable.
    pub fn create() -> Result<Self> {
        fs::create_dir_all(BASE).with_context(|| format!("cannot make {BASE}"))?;
        for attempt in 0..64_u32 {
            let tag = new_tag(attempt);
            let path = Path::new(BASE).join(&tag);
            match fs::create_dir(&path) {
                Ok(()) => {
                    // Servers that refuse to run as root must still reach their data below.
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                    let owner = File::create(path.join("owner"))?;
                    owner.lock()?;
                    return Ok(Self { tag, path, keep: false, _owner: owner });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        bail!("no free name below {BASE}")
    }

    /// The run's own short name.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The namespace name for `part` of this run.
    pub fn netns_name(&self, part: &str) -> String {
        format!("{NETNS_PREFIX}{}-{part}", self.tag)
    }

    /// Where the agent of this run pins its program and maps.
    pub fn pin_dir(&self) -> PathBuf {
        pin_dir(&self.tag)
    }

    /// Leaves everything in place when this handle goes away; only an explicit clean-up removes it then.
    ///
    /// # Errors
    /// The mark could not be written.
    pub fn keep(&mut self) -> Result<()> {
        File::create(self.path.join("kept"))?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.tag);
        }
    }
}

/// Which leftovers [`cleanup`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Only those of runs that crashed.
    Crashed,
    /// Those, and what `--keep` left.
    CrashedAndKept,
}

/// Removes what runs without a living owner left behind; the tags of the removed ones.
pub fn cleanup(which: Leftovers) -> Vec<String> {
    let mut removed = Vec::new();
    let Ok(entries) = fs::read_dir(BASE) else { return removed };
    for entry in entries.flatten() {
        let Ok(tag) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if which == Leftovers::Crashed && path.join("kept").exists() {
            continue;
        }
        // A folder whose owner file is not there yet is being made at this moment.
        let Ok(owner) = File::open(path.join("owner")) else { continue };
        if owner.try_lock().is_ok() {
            remove(&tag);
            removed.push(tag);
        }
    }
    removed
}

fn remove(tag: &str) {
    for name in netns::list(&format!("{NETNS_PREFIX}{tag}-")) {
        netns::remove(&name);
    }
    // Each may be absent; what cannot be removed now is found by the next clean-up.
    let _pins = remove_pins(&pin_dir(tag));
    let _folder = fs::remove_dir_all(Path::new(BASE).join(tag));
}

fn remove_pins(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_pins(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

fn pin_dir(tag: &str) -> PathBuf {
    PathBuf::from(format!("{PIN_PREFIX}{tag}"))
}

/// Five characters from the clock and the process id; uniqueness comes from the folder's creation.
fn new_tag(attempt: u32) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.subsec_nanos());
    let mut bits = nanos.rotate_left(7) ^ std::process::id().wrapping_mul(0x9e37_79b1) ^ attempt;
    let mut tag = String::new();
    for _ in 0..5 {
        tag.push(char::from(DIGITS[(bits & 31) as usize]));
        bits >>= 5;
    }
    tag
}
