//! Where lines go, and standard output.

use super::line::Lines;
use std::io::{self, Write};

/// Takes lines. Time spent here is the exporter's own: nobody waits for it.
pub trait Target: Send {
    /// Takes what it can, in order, and takes it off `lines`. On an error what is left is tried again later; a line
    /// that can never go is taken off and counted in the answer.
    ///
    /// # Errors
    ///
    /// Whatever keeps lines from going on.
    fn write(&mut self, lines: &mut Lines) -> io::Result<u64>;

    /// Called now and then, with or without lines.
    fn tick(&mut self) {}
}

/// What takes bytes and gives none back: standard output, a pipe, a device. Where it takes only a part of a line, the
/// rest goes first next time.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Bytes of the first line that are out already.
    out: usize,
}

impl Stream {
    pub(super) fn write(&mut self, to: &mut impl Write, lines: &mut Lines) -> io::Result<()> {
        while lines.left() > 0 {
            match to.write(lines.rest().get(self.out..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    let before = lines.start();
                    lines.advance(self.out + bytes);
                    self.out = self.out + bytes - (lines.start() - before);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        to.flush()
    }
}

/// Standard output.
#[derive(Debug, Default)]
pub(super) struct Stdout(Stream);

impl Target for Stdout {
    fn write(&mut self, lines: &mut Lines) -> io::Result<u64> {
        self.0.write(&mut io::stdout().lock(), lines)?;
        Ok(0)
    }
}
