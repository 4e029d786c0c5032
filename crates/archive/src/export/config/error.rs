//! What is wrong with the file, and where.

/// A wrong file. It is shown as `LINE:COLUMN: message`; whoever knows the file's name puts it before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl ConfigError {
    /// From the YAML reader: its place, its message without the place, and the nearest of what it expected.
    pub(super) fn yaml(error: &serde_yaml::Error) -> Self {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let mut message = error.to_string();
        if let Some(at) = message.rfind(" at line ") {
            message.truncate(at);
        }
        if let Some(meant) = suggestion(&message) {
            message = format!("{message}; did you mean `{meant}`?");
        }
        Self { line, column, message }
    }

    /// At a key of the exporter number `index`; at its name where it does not have the key.
    pub(super) fn near(text: &str, key: &str, index: usize, message: String) -> Self {
        let (line, column) = place(text, key, index).unwrap_or((1, 1));
        Self { line, column, message }
    }
}

/// The nearest of the names that serde says it expected, if it is near.
fn suggestion(message: &str) -> Option<&str> {
    let (found, expected) = message.split_once(", expected ")?;
    let mut ticks = found.rsplit('`');
    ticks.next()?;
    let found = ticks.next()?.to_lowercase();
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Where `key` stands in the part of the text that begins with the exporter number `index`. The parser keeps no
/// places of values that are right by themselves, so this looks for words: exporters begin where their names do.
fn place(text: &str, key: &str, index: usize) -> Option<(usize, usize)> {
    let words = |word: &'static str| {
        text.lines().enumerate().flat_map(move |(line, content)| {
            let found = content.match_indices(word).filter(|(at, _)| is_key(content, *at, word.len()));
            found.map(|(at, _)| (line + 1, at + 1)).collect::<Vec<_>>()
        })
    };
    let key: &'static str =
        ["flowLogs", "name", "syslog", "filePath", "fileMaxSizeMb", "fileMaxBackups", "headers"]
            .into_iter()
            .find(|known| *known == key)?;
    if matches!(key, "flowLogs" | "headers") {
        return words(key).next();
    }
    let names: Vec<_> = words("name").collect();
    let start = *names.get(index)?;
    let (before, end) = (index.checked_sub(1).map(|at| names[at]), names.get(index + 1).copied());
    // A key may stand before its exporter's name, but not before the name of the one before.
    let after = words(key).find(|at| *at >= start && end.is_none_or(|end| *at < end));
    after.or_else(|| words(key).find(|at| before.is_none_or(|b| *at > b) && *at < start)).or(Some(start))
}

fn is_key(line: &str, at: usize, len: usize) -> bool {
    let before = line[..at].trim_end();
    let free = before.is_empty() || before.ends_with(['-', '{', ',', '[']);
    let comment = line[..at].contains('#');
    free && !comment && line[at + len..].trim_start().starts_with(':')
}
