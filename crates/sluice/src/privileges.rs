//! What the process may still do once it runs.
//!
//! Capabilities that remain: `CAP_NET_ADMIN` (routes, attaching, looking at a pod's end of a veth), `CAP_NET_RAW`
//! (AF_XDP and packet sockets of pods that come later), `CAP_BPF` (maps and links). The program is loaded and the packet memory
//! registered before the drop, so nothing that loading needs has to stay.
//!
//! The system call filter is a deny-list: what a packet processor never does and an intruder would. Both are applied
//! while there is one thread; later ones inherit them.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// Capabilities that are kept.
const KEPT: [Capability; 3] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_BPF];

/// System calls that answer `EPERM` from then on: starting programs, other processes' memory, mounts and
/// namespaces, modules, clocks, keys, other users, and rings that would go round this filter.
const DENIED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Lets this process have as many open files as it may ask for: a port takes three, and the usual limit is 1,024 for the sake
/// of programs that call select(2).
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Gives up every capability of the calling thread but those of `KEPT`; answers what remains.
///
/// # Errors
/// When the system refuses.
pub fn drop_capabilities() -> Result<Vec<String>> {
    let read = |set| caps::read(None, set).context("read capabilities");
    let permitted = read(CapSet::Permitted)?;
    let keep: CapsHashSet = KEPT.into_iter().filter(|capability| permitted.contains(capability)).collect();
    // The bounding set first: shrinking it takes CAP_SETPCAP, which goes next.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in read(CapSet::Bounding)?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *capability).context("shrink the bounding set")?;
        }
    }
    caps::clear(None, CapSet::Ambient).context("clear ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("clear inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &keep).context("drop effective capabilities")?;
    caps::set(None, CapSet::Permitted, &keep).context("drop permitted capabilities")?;
    let mut names: Vec<String> = keep.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

/// Installs the system call filter on all threads, now and later; also forbids gaining privileges.
///
/// # Errors
/// When the filter cannot be built for this machine or the system refuses it.
pub fn filter_system_calls() -> Result<()> {
    nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().context("system call filter for this processor")?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).context("build the filter")?;
    let program: BpfProgram = filter.try_into().context("compile the filter")?;
    seccompiler::apply_filter_all_threads(&program).context("install the filter")
}
