//! Cutting a file into documents before any of it is parsed.

/// The documents of a file as (first line, text). A line that starts with `---` or `...` and a blank is a marker
/// wherever it stands, even inside a quoted text (YAML 1.2 §9.1.2), so cutting there needs no parser.
pub(crate) fn split(text: &str) -> Vec<(u32, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut offset, mut line) = (0, 1);
    for piece in text.split_inclusive('\n') {
        if is_marker(piece, "---") {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, line);
        } else if is_marker(piece, "...") {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (offset + piece.len(), line + 1);
        }
        offset += piece.len();
        line += 1;
    }
    documents.push((start_line, &text[start..]));
    documents.retain(|(_, text)| text.lines().any(has_content));
    documents
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line is more than blanks, a comment, a directive or a bare marker.
fn has_content(line: &str) -> bool {
    if line.starts_with('%') {
        return false;
    }
    let line = if is_marker(line, "---") { &line[3..] } else { line };
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}
