//! The asking end of the protocol: an answer, line by line, to a printer.

use super::ResponseLine;
use crate::format::{Layout, Printer};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Longest line: far above the largest record (some 40 KiB with every list and text at its limit).
pub const MAX_LINE: u64 = 4 << 20;

/// How the start of a record's line looks when a server of ours writes it.
const FLOW: &[u8] = b"{\"flow\":";

/// Why an answer ended.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line that is no answer.
    #[error("read the answer: {0}")]
    Json(#[from] serde_json::Error),
}

/// Shows an answer. JSON passes as it came; what is shown is flushed whenever nothing more has come yet, so that one
/// who follows sees it at once and a long answer is written in large pieces. `beside` gets what is no record and has no
/// place in the layout.
///
/// # Errors
///
/// The server's, and those of reading and writing.
pub fn show_answer<R: Read, W: Write>(
    input: &mut BufReader<R>,
    printer: &mut Printer<W>,
    beside: &mut dyn FnMut(&ResponseLine),
) -> Result<(), AnswerError> {
    let mut line = Vec::new();
    while next_line(input, &mut line)? {
        if line.starts_with(FLOW) && printer.takes_lines() {
            printer.line(&line)?;
        } else if !line.is_empty() {
            let answer: ResponseLine = serde_json::from_slice(&line)?;
            if let Some(error) = answer.error {
                return Err(AnswerError::Refused(error));
            }
            show_line(&answer, &line, printer, beside)?;
        }
        if input.buffer().is_empty() {
            printer.flush()?;
        }
    }
    Ok(())
}

/// Shows what a line says. JSON output carries what is no record too, as Hubble's does.
///
/// # Errors
///
/// Those of the writer.
pub fn show_line<W: Write>(
    answer: &ResponseLine,
    line: &[u8],
    printer: &mut Printer<W>,
    beside: &mut dyn FnMut(&ResponseLine),
) -> io::Result<()> {
    let other = answer.lost_events.is_some() || answer.node_status.is_some();
    match &answer.flow {
        Some(flow) => printer.record(flow),
        None if other && printer.layout() == Layout::Json => printer.line(line),
        None => {
            beside(answer);
            Ok(())
        }
    }
}

/// Reads the next line without its end; false at the end of the input.
///
/// # Errors
///
/// Those of the input, and a line longer than [`MAX_LINE`].
pub fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if u64::try_from(read).is_ok_and(|read| read == MAX_LINE) {
        let what = format!("a line is longer than {MAX_LINE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(read > 0)
}
