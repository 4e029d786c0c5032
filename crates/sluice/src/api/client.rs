//! The other end of the socket: what the commands use.

use super::request::Request;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the node service may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks, and hands each line of the answer to `each`.
///
/// # Errors
/// When nobody listens, or the answer is an error.
pub fn ask_lines(socket: &Path, request: &Request, mut each: impl FnMut(Value) -> Result<()>) -> Result<()> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no node service listens on {}; is `sluice run` running, and is this its socket (--socket)?",
            socket.display()
        ),
        ErrorKind::PermissionDenied => anyhow::anyhow!("{}: not allowed; run this as root", socket.display()),
        _ => anyhow::anyhow!("{}: {error}", socket.display()),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("ask")?;
    for line in BufReader::new(stream).lines() {
        let value: Value =
            serde_json::from_str(&line.context("read the answer")?).context("read the answer")?;
        if let Some(message) =
            value.get("error").filter(|_| value.as_object().is_some_and(|object| object.len() == 1))
        {
            bail!("{}", message.as_str().unwrap_or("the node service failed"));
        }
        each(value)?;
    }
    Ok(())
}

/// Asks for one value.
///
/// # Errors
/// As [`ask_lines`], and when there is no answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Value> {
    let mut answer = None;
    ask_lines(socket, request, |value| {
        answer.get_or_insert(value);
        Ok(())
    })?;
    answer.context("the node service closed the connection without an answer")
}
