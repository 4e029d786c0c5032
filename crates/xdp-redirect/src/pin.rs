//! The BPF file system: where links and maps outlive the process.
//!
//! ```text
//! DIR/links/IFINDEX      one pinned link for each attached interface
//! DIR/maps-vN/NAME       the maps, shared by all of them
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::abi;
use crate::error::RedirectError;
use crate::link;

/// Where systems mount the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";

/// The folders of one loader under the BPF file system.
#[derive(Clone, Debug)]
pub(crate) struct PinDir(PathBuf);

impl PinDir {
    /// Makes sure that `dir` exists and lies on a BPF file system, mounting one if there is none.
    pub(crate) fn prepare(dir: &Path) -> Result<Self, RedirectError> {
        let mount_point = if dir.starts_with(BPFFS) { Path::new(BPFFS) } else { dir };
        if !is_bpffs(dir) {
            fs::create_dir_all(mount_point).map_err(|source| failed("create", mount_point, source))?;
            if !is_bpffs(mount_point) {
                mount(Some("bpf"), mount_point, Some("bpf"), MsFlags::empty(), None::<&str>)
                    .map_err(|errno| failed("mount a BPF file system on", mount_point, errno.into()))?;
            }
        }
        let pins = Self(dir.to_owned());
        for folder in [pins.links(), pins.maps()] {
            fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        }
        Ok(pins)
    }

    fn links(&self) -> PathBuf {
        self.0.join("links")
    }

    fn maps(&self) -> PathBuf {
        self.0.join(format!("maps-v{}", abi::VERSION))
    }

    pub(crate) fn link(&self, ifindex: u32) -> PathBuf {
        self.links().join(ifindex.to_string())
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Interfaces that have a pinned link.
    pub(crate) fn linked(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.links()) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

/// Removes everything that was pinned under `dir`: programs detach, maps vanish when their last user closes them.
///
/// # Errors
/// The first file that could not be removed. A folder that does not exist is no error.
pub fn cleanup(dir: &Path) -> Result<(), RedirectError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", dir, error)),
    };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let ours = folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name == "links" || name.starts_with("maps-v"));
        if !ours {
            continue;
        }
        for file in fs::read_dir(&folder).map_err(|source| failed("read", &folder, source))?.flatten() {
            let file = file.path();
            let program = program_of(&file);
            unlink(&file)?;
            if let Some((ifindex, program)) = program {
                link::wait_detached(ifindex, program);
            }
        }
        fs::remove_dir(&folder).map_err(|source| failed("remove", &folder, source))?;
    }
    // Fails where `dir` is the mount point or holds somebody else's files; then it stays.
    let _ = fs::remove_dir(dir);
    Ok(())
}

/// The interface and program of a pinned link; `None` for a map.
fn program_of(file: &Path) -> Option<(u32, u32)> {
    let ifindex = file.file_name()?.to_str()?.parse().ok()?;
    let link = FdLink::from(PinnedLink::from_pin(file).ok()?);
    Some((ifindex, link.info().ok()?.program_id()))
}

/// Removes one pin; its absence is no error.
pub(crate) fn unlink(path: &Path) -> Result<(), RedirectError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

fn is_bpffs(path: &Path) -> bool {
    // The nearest folder that exists decides.
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .and_then(|ancestor| statfs(ancestor).ok())
        .is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

pub(crate) fn failed(what: &'static str, path: &Path, source: io::Error) -> RedirectError {
    RedirectError::Pin { what, path: path.to_owned(), source }
}
