//! Which thread runs on which CPU.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread itself.
const SELF: Pid = Pid::from_raw(0);

/// Holds the calling thread on one CPU. Where that fails, it runs where it runs, and the log says so.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if let Err(error) = set.set(cpu).and_then(|()| sched_setaffinity(SELF, &set)) {
        tracing::warn!(%error, cpu, "the worker is not pinned");
    }
}

/// Keeps the calling thread, and all that it starts from now on, off the CPUs on which workers spin: each turn of another
/// thread there stops every connection of that worker for that time. Where there is no other CPU, nothing changes.
pub fn leave(cpus: &[usize]) {
    let left = sched_getaffinity(SELF).map(|allowed| without(allowed, cpus));
    if let Err(error) = left.and_then(|rest| rest.map_or(Ok(()), |rest| sched_setaffinity(SELF, &rest))) {
        tracing::warn!(%error, ?cpus, "other threads may run on the workers' CPUs");
    }
}

/// The set without these CPUs; `None` where that leaves nothing, or one of them has no such number.
fn without(mut set: CpuSet, cpus: &[usize]) -> Option<CpuSet> {
    cpus.iter().try_for_each(|cpu| set.unset(*cpu)).ok()?;
    (0..CpuSet::count()).any(|cpu| set.is_set(cpu).unwrap_or(false)).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_keep_what_is_left() {
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu).expect("a CPU"));
            set
        };
        assert_eq!(without(set(&[0, 1, 5]), &[1]), Some(set(&[0, 5])));
        assert_eq!(without(set(&[0, 5]), &[1]), Some(set(&[0, 5])));
        assert_eq!(without(set(&[0, 1]), &[1, 0]), None);
        assert_eq!(without(set(&[1]), &[usize::MAX]), None);
    }
}
