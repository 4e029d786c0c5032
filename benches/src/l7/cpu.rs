//! CPU time, of the machine and of one process.

use anyhow::{Context, Result};
use std::ops::Sub;

/// USER_HZ, which is 100 on every architecture Linux runs on with this ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds since some beginning.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct CpuTime {
    /// All CPUs, all that was not idle (`proc(5)`: user, nice, system, irq, softirq), whoever it was.
    pub machine: f64,
    /// The process in the middle, user and system; zero where there is none.
    pub gate: f64,
    /// What the hypervisor took.
    pub stolen: f64,
}

impl CpuTime {
    /// The counters of now.
    ///
    /// # Errors
    /// `/proc` cannot be read, or the process is gone.
    pub fn now(gate: Option<u32>) -> Result<Self> {
        let (machine, stolen) = machine(&std::fs::read_to_string("/proc/stat")?)?;
        let gate = match gate {
            Some(pid) => process(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)?,
            None => 0.0,
        };
        Ok(Self { machine, gate, stolen })
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            machine: self.machine - before.machine,
            gate: self.gate - before.gate,
            stolen: self.stolen - before.stolen,
        }
    }
}

fn machine(stat: &str) -> Result<(f64, f64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("no line cpu")?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let at = |i: usize| ticks.get(i).copied().context("short line cpu");
    let busy = at(0)? + at(1)? + at(2)? + at(5)? + at(6)?;
    Ok((busy as f64 / TICKS_PER_SECOND, at(7)? as f64 / TICKS_PER_SECOND))
}

fn process(stat: &str) -> Result<f64> {
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |i: usize| -> Result<u64> { Ok(fields.get(i).context("short stat")?.parse()?) };
    Ok((field(11)? + field(12)?) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_waiting_for_disks_are_not_busy() {
        let (busy, stolen) = machine("cpu  100 10 200 9000 900 5 15 7 0 0\ncpu0 1 2 3\n").expect("a line");
        assert_eq!((busy, stolen), (3.3, 0.07));
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_move_the_fields() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(process(stat).expect("numbers"), 2.0);
    }
}
