//! CPU time, of each core and of one process.

use anyhow::{Context, Result};
use std::ops::Sub;
use std::time::Duration;

/// How long to look whether nobody works.
const LOOK: Duration = Duration::from_millis(100);
/// Looks until a sample is taken all the same.
const LOOKS: usize = 100;
/// CPU seconds within a look that are nobody's business: three ticks of the clock they are counted with.
const QUIET: f64 = 0.03;

/// USER_HZ, which is 100 on every architecture Linux runs on with this ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds since some beginning.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CpuTime {
    /// Of each core, all that was not idle (`proc(5)`: user, nice, system, irq, softirq), whoever it was.
    pub cores: Vec<f64>,
    /// The process in the middle, user and system; `None` where there is none.
    pub gate: Option<f64>,
    /// What the hypervisor took.
    pub stolen: f64,
}

impl CpuTime {
    /// The counters of now.
    ///
    /// # Errors
    /// `/proc` cannot be read, or the process is gone.
    pub fn now(gate: Option<u32>) -> Result<Self> {
        let (cores, stolen) = cores(&std::fs::read_to_string("/proc/stat")?)?;
        let gate = match gate {
            Some(pid) => Some(process(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)?),
            None => None,
        };
        Ok(Self { cores, gate, stolen })
    }

    /// All cores together.
    #[must_use]
    pub fn machine(&self) -> f64 {
        self.cores.iter().sum()
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cores: self.cores.iter().zip(&before.cores).map(|(now, then)| now - then).collect(),
            gate: self.gate.zip(before.gate).map(|(now, then)| now - then),
            stolen: self.stolen - before.stolen,
        }
    }
}

/// Waits, while all contenders stand still, until nobody else works either, ten seconds at most, and says so if somebody
/// does. Work of others slows whoever is measured, and in a virtual machine it also speeds up wake-ups of its CPU.
///
/// # Errors
/// `/proc` cannot be read.
pub fn wait_until_quiet() -> Result<()> {
    let mut busy = 0.0;
    for _ in 0..LOOKS {
        let before = CpuTime::now(None)?;
        std::thread::sleep(LOOK);
        busy = (CpuTime::now(None)? - before).machine();
        if busy <= QUIET {
            return Ok(());
        }
    }
    let cores = busy / LOOK.as_secs_f64();
    eprintln!("NOTE: other work takes {cores:.1} CPUs of this machine: do not trust this sample");
    Ok(())
}

/// Busy seconds of each core, and the stolen ones of all.
fn cores(stat: &str) -> Result<(Vec<f64>, f64)> {
    let (mut cores, mut stolen) = (Vec::new(), 0.0);
    for line in stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")) {
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>().context("line cpu")?;
        let at = |i: usize| ticks.get(i).copied().context("short line cpu");
        cores.push((at(0)? + at(1)? + at(2)? + at(5)? + at(6)?) as f64 / TICKS_PER_SECOND);
        stolen += at(7)? as f64 / TICKS_PER_SECOND;
    }
    anyhow::ensure!(!cores.is_empty(), "no line cpu0");
    Ok((cores, stolen))
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
        let text =
            "cpu  1 2 3\ncpu0 100 10 200 9000 900 5 15 7 0 0\ncpu1 100 0 0 9000 900 0 0 1 0 0\nintr 7\n";
        let (busy, stolen) = cores(text).expect("two lines");
        assert_eq!((busy, stolen), (vec![3.3, 1.0], 0.08));
        assert!(cores("cpu  1 2 3\n").is_err());
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_move_the_fields() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(process(stat).expect("numbers"), 2.0);
    }
}
