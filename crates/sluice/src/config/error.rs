//! What is wrong with a file, and where.

use core::fmt;
use std::path::{Path, PathBuf};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Its text is wrong.
    #[error("{}{}: {message}", path.display(), At(*position))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line and column, from 1.
        position: Option<(usize, usize)>,
        /// What is wrong and what to write instead.
        message: String,
    },
}

struct At(Option<(usize, usize)>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl ConfigError {
    pub(crate) fn at(path: &Path, position: Option<(usize, usize)>, message: String) -> Self {
        Self::Invalid { path: path.to_owned(), position, message }
    }

    /// From the YAML reader: its position, its message without the position, and a suggestion.
    pub(crate) fn yaml(path: &Path, error: &serde_yaml::Error) -> Self {
        let position = error.location().map(|at| (at.line(), at.column()));
        let mut message = error.to_string();
        if let Some(at) = message.rfind(" at line ") {
            message.truncate(at);
        }
        if let Some(meant) = suggestion(&message) {
            message = format!("{message}; did you mean `{meant}`?");
        }
        Self::at(path, position, message)
    }
}

/// The nearest of the names that serde says it expected, if it is near.
fn suggestion(message: &str) -> Option<&str> {
    let (found, expected) = message.split_once(", expected ")?;
    let mut ticks = found.rsplit('`');
    ticks.next()?;
    let found = ticks.next()?;
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|name| (strsim::damerau_levenshtein(&found.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Where a dotted key stands in a block-style document: each part on its own line, deeper than the one before.
pub(crate) fn find_key(text: &str, key: &str) -> Option<(usize, usize)> {
    let mut parts = key.split('.').peekable();
    let mut depth = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let wanted = parts.peek()?;
        let after = line.trim_start().strip_prefix(wanted);
        if after.is_some_and(|rest| rest.starts_with(':')) && depth.is_none_or(|depth| indent > depth) {
            depth = Some(indent);
            parts.next();
            if parts.peek().is_none() {
                return Some((number + 1, indent + 1));
            }
        }
    }
    None
}
