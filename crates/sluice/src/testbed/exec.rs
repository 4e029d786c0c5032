//! Programs run for a testbed: with a time limit, or in the background until dropped.
//!
//! Every program gets its own process group, is signalled by that group's number and never by name, and never reads
//! the terminal.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::interrupt;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(5);
/// How long a background program may take over its own shutdown before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// At most this much of one stream is kept (bytes); the rest is read and thrown away.
const OUTPUT_CAP: u64 = 8 << 20;

/// What a finished program said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
    /// True when the time limit ended it.
    pub timed_out: bool,
    /// Wall time it took.
    pub elapsed: Duration,
}

impl Output {
    /// True for exit code 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Output and error text in one string for messages.
    pub fn text(&self) -> String {
        let mut text = self.stdout.trim().to_owned();
        if !self.stderr.trim().is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(self.stderr.trim());
        }
        text
    }
}

/// Runs `command` to its end, at most `limit` long; past that, or on an interrupt, its whole group is killed.
///
/// # Errors
/// The program could not be started, or the user interrupted.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let started = Instant::now();
    let mut child = spawn(command, Stdio::piped(), Stdio::piped())?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let (status, timed_out) = loop {
        if let Some(status) = child.try_wait()? {
            break (status, false);
        }
        if started.elapsed() >= limit || interrupt::requested() {
            signal_group(&child, Signal::SIGKILL);
            break (child.wait()?, !interrupt::requested());
        }
        thread::sleep(POLL);
    };
    // A grandchild may still hold the pipes open: end the group so that the readers return.
    signal_group(&child, Signal::SIGKILL);
    let join = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let output = Output {
        code: status.code(),
        stdout: join(out),
        stderr: join(err),
        timed_out,
        elapsed: started.elapsed(),
    };
    if interrupt::requested() {
        bail!("interrupted");
    }
    Ok(output)
}

/// Like [`run`], but anything other than exit code 0 is an error that quotes the program's own words.
///
/// # Errors
/// As [`run`], or the program failed.
pub fn check(command: &mut Command, limit: Duration) -> Result<Output> {
    let output = run(command, limit)?;
    if !output.ok() {
        let how = match (output.timed_out, output.code) {
            (true, _) => format!("did not finish within {limit:?}"),
            (_, Some(code)) => format!("exit code {code}"),
            (_, None) => "ended by a signal".to_owned(),
        };
        bail!("{}: {how}: {}", shown(command), output.text());
    }
    Ok(output)
}

/// A program in the background; dropping it ends its process group.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    log: PathBuf,
    detached: bool,
}

impl Proc {
    /// Starts `command` with both output streams going to the file `log`.
    ///
    /// # Errors
    /// The log cannot be created or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let child = spawn(command, file.try_clone()?.into(), file.into())?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), detached: false })
    }

    /// What it is, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id, also the number of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends one signal to its group.
    pub fn signal(&self, signal: Signal) {
        signal_group(&self.child, signal);
    }

    /// Waits for its end, at most `limit`; `None` when it still runs, else its exit code (128 + n for signal n).
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            if started.elapsed() >= limit {
                return None;
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end, and kills it when it does not; its exit code where there is one.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let code = self.wait(GRACE);
        // Also what is left of the group once the leader is gone.
        self.signal(Signal::SIGKILL);
        code.or_else(|| self.wait(GRACE))
    }

    /// Lets it outlive this process.
    pub fn detach(&mut self) {
        self.detached = true;
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if !self.detached {
            self.stop();
        }
    }
}

/// Polls `done` until it is true or `limit` has passed.
///
/// # Errors
/// The time passed (the message names `what`), or the user interrupted.
pub fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !done() {
        if interrupt::requested() {
            bail!("interrupted");
        }
        if started.elapsed() >= limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The first folder of `PATH`, or of the system folders a login shell may lack, that holds `program`.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].iter().map(PathBuf::from),
        )
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn spawn(command: &mut Command, out: Stdio, err: Stdio) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))
}

fn signal_group(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // ESRCH means the group is gone already, which is what a killer wants.
        let _gone = killpg(Pid::from_raw(pid), signal);
    }
}

fn collect(stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut stream = stream;
        let mut bytes = Vec::new();
        // An error ends the stream like its end does: what was read until then is the answer.
        let _end = stream.by_ref().take(OUTPUT_CAP).read_to_end(&mut bytes);
        let _rest = std::io::copy(&mut stream, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_past_its_limit_is_killed_with_its_children() {
        let started = Instant::now();
        let output = run(Command::new("sh").args(["-c", "sleep 60 & sleep 60"]), Duration::from_millis(100))
            .expect("sh runs");
        assert!(output.timed_out && output.code.is_none());
        assert!(started.elapsed() < Duration::from_secs(5), "the readers must not wait for the grandchild");
    }

    #[test]
    fn a_failure_quotes_the_program() {
        let error = check(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), Duration::from_secs(5))
            .expect_err("fails");
        let text = error.to_string();
        assert!(text.contains("exit code 3") && text.contains("why"), "{text}");
    }

    #[test]
    fn dropping_a_background_program_ends_it() {
        let dir = std::env::temp_dir().join(format!("sluice-exec-{}", std::process::id()));
        let proc = Proc::spawn("sleeper", Command::new("sleep").arg("60"), &dir).expect("sleep starts");
        let pid = Pid::from_raw(i32::try_from(proc.pid()).expect("small"));
        drop(proc);
        assert!(nix::sys::signal::kill(pid, None).is_err());
        std::fs::remove_file(dir).expect("the log was there");
    }
}
