//! Takes out what nobody else should know: values of keys that name secrets, credentials and queries in URLs.

use serde_json::Value;

/// What stands in the place of it.
pub(super) const REDACTED: &str = "REDACTED";

/// Words in the name of a key whose value is a secret.
const SECRET: [&str; 9] = [
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "cookie",
    "credential",
    "apikey",
    "privatekey",
];

/// Whether a key of that name holds a secret.
fn is_secret(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    // The API key of Kafka is the name of a request, and a file's name is not what is in it.
    let harmless = plain.ends_with("file") || key == "api_key" || key == "apiKey";
    !harmless && SECRET.iter().any(|word| plain.contains(word))
}

/// A JSON value without secrets.
pub(super) fn value(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // A header field: its name is a value itself.
            let named = map.get("key").and_then(Value::as_str).is_some_and(is_secret);
            for (key, inner) in map.iter_mut() {
                if is_secret(key) || (named && key == "value") {
                    if !inner.is_null() {
                        *inner = REDACTED.into();
                    }
                } else {
                    self::value(inner);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(self::value),
        Value::String(text) => {
            if let Some(clean) = url(text) {
                *text = clean;
            }
        }
        _ => {}
    }
}

/// YAML line by line, so that comments and layout stay; and other text with `key: value` or `key=value`.
pub(super) fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    // Lines that belong to the value of a secret: those indented deeper than its key.
    let mut inside: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(depth) = inside {
            if line.trim().is_empty() || indent > depth {
                continue;
            }
            inside = None;
        }
        let key = line.trim_start().trim_start_matches("- ");
        let split =
            key.find([':', '=']).map(|at| (key[..at].trim_matches(['"', '\'', ' ']), key[at + 1..].trim()));
        match split {
            Some((name, value)) if is_secret(name) && !name.contains(' ') && !name.starts_with('#') => {
                let head = &line[..line.len() - key.len() + name_end(key)];
                if !value.is_empty() && value != "\"\"" && value != "''" {
                    clean.push_str(head);
                    clean.push_str(" REDACTED\n");
                } else {
                    clean.push_str(line);
                    clean.push('\n');
                }
                if value.is_empty() || value.starts_with(['|', '>']) {
                    inside = Some(indent);
                }
            }
            _ => {
                clean.push_str(&url(line).unwrap_or_else(|| line.to_owned()));
                clean.push('\n');
            }
        }
    }
    clean
}

/// Behind the `:` or `=` of a key.
fn name_end(key: &str) -> usize {
    key.find([':', '=']).map_or(0, |at| at + 1)
}

/// A text with `scheme://` in it, without the user and the query of each; `None` if there is none.
pub(super) fn url(text: &str) -> Option<String> {
    let mut clean = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find("://") {
        found = true;
        let (head, tail) = rest.split_at(at + 3);
        clean.push_str(head);
        let end = tail.find(|c: char| c.is_whitespace() || "\"'<>)".contains(c)).unwrap_or(tail.len());
        let (url, after) = tail.split_at(end);
        let path = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(path);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.len() != authority.len() {
            clean.push_str(REDACTED);
            clean.push('@');
        }
        clean.push_str(host);
        match path.split_once('?') {
            Some((path, _)) => {
                clean.push_str(path);
                clean.push('?');
                clean.push_str(REDACTED);
            }
            None => clean.push_str(path),
        }
        rest = after;
    }
    clean.push_str(rest);
    found.then_some(clean)
}
