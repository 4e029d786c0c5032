//! What the system says about this process, under the names that every Prometheus client uses.

use jiff::Timestamp;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

/// The process.
#[derive(Copy, Clone, Debug, Default)]
pub struct Process {
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// Resident bytes.
    pub resident: u64,
    /// Bytes of address space.
    pub virtual_memory: u64,
    /// Open file descriptors, and the most there may be.
    pub files: (u64, u64),
    /// Threads.
    pub threads: u64,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

impl Process {
    /// Asks the system. What it does not say stays zero.
    #[must_use]
    pub fn look(started: Timestamp) -> Self {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let cpu = getrusage(UsageWho::RUSAGE_SELF)
            .map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self {
            cpu,
            resident: field(&status, "VmRSS:").saturating_mul(1024),
            virtual_memory: field(&status, "VmSize:").saturating_mul(1024),
            // Reading the folder opens it.
            files: (open.saturating_sub(1), getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |limit| limit.0)),
            threads: field(&status, "Threads:"),
            started: started.as_millisecond() as f64 / 1e3,
        }
    }
}

/// A number of `/proc/self/status` (proc_pid_status(5)).
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_everything() {
        let process = Process::look(Timestamp::UNIX_EPOCH);
        assert!(
            process.cpu >= 0.0 && process.resident > 1 << 20 && process.virtual_memory >= process.resident
        );
        assert!(
            process.files.0 >= 3 && process.files.1 >= process.files.0 && process.threads >= 1,
            "{process:?}"
        );
        assert_eq!((field("VmRSS:\t  12 kB\n", "VmRSS:"), field("x", "VmRSS:")), (12, 0));
    }
}
