//! The target of a request: which path it names, and in which ways a server may read it.
//!
//! Policy is asked for two readings, the path as sent and the normal one, and both must be allowed. That is safe as
//! long as there is no third one, so what could be read in more ways than these is refused. The table of decisions
//! stands in [`crate::http1`].

use crate::anomaly::Anomaly;

/// A target's parts.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target<'a> {
    /// Path and query.
    pub(crate) path: &'a [u8],
    /// Authority of an absolute form.
    pub(crate) authority: Option<&'a [u8]>,
    /// Whether the normal path may be another one.
    pub(crate) odd: bool,
}

/// What a byte of a path is.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Class {
    /// Nobody reads it in another way.
    Plain,
    /// Odd behind a slash.
    DotOrSlash,
    /// Odd.
    Odd,
    /// The query begins.
    Query,
    /// May not stand in a query, let alone in a path.
    Never,
    /// May not stand in a path.
    NotInPath,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Never; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        classes[byte] = match byte as u8 {
            b'.' | b'/' => Class::DotOrSlash,
            b'%' | b';' => Class::Odd,
            b'?' => Class::Query,
            b'#' => Class::Never,
            b'\\' => Class::NotInPath,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// Takes a target apart (RFC 9112 §3.2). CONNECT has another form and does not come here.
pub(crate) fn split<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Anomaly> {
    if target.first() == Some(&b'/') {
        return Ok(Target { path: target, authority: None, odd: is_odd(target)? });
    }
    if target == b"*" && method == b"OPTIONS" {
        return Ok(Target { path: target, authority: None, odd: false });
    }
    let Some((scheme, rest)) = target.split_at_checked(7) else { return Err(Anomaly::HttpTarget) };
    if !scheme.eq_ignore_ascii_case(b"http://") {
        return Err(Anomaly::HttpTarget);
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.first() {
        None => b"/",
        Some(b'/') => path,
        // A path would have to be put before it.
        Some(_) => return Err(Anomaly::HttpTarget),
    };
    if authority.is_empty() {
        return Err(Anomaly::HttpHost);
    }
    Ok(Target { path, authority: Some(authority), odd: is_odd(path)? })
}

/// Whether a path (which begins with a slash) may be read in more than one way.
fn is_odd(path: &[u8]) -> Result<bool, Anomaly> {
    let mut odd = false;
    let mut before = 0;
    for (at, &byte) in path.iter().enumerate() {
        match CLASSES[usize::from(byte)] {
            Class::Plain => {}
            Class::DotOrSlash => odd |= before == b'/',
            Class::Odd => odd = true,
            Class::Query => {
                let never = |&byte: &u8| CLASSES[usize::from(byte)] == Class::Never;
                return if path[at..].iter().any(never) { Err(Anomaly::HttpTarget) } else { Ok(odd) };
            }
            Class::Never | Class::NotInPath => return Err(Anomaly::HttpTarget),
        }
        before = byte;
    }
    Ok(odd)
}

/// Writes the normal form of an odd path into `out`.
pub(crate) fn normalise(path: &[u8], out: &mut Vec<u8>) -> Result<(), Anomaly> {
    let end = path.iter().position(|&byte| byte == b'?').unwrap_or(path.len());
    let (path, query) = path.split_at(end);
    out.clear();
    let slashes = decode(path, out)?;
    let unreserved_only = out.as_slice() == path;
    check_segments(out)?;
    if slashes {
        // Two readings are used up: the escape kept, and decoded. Neither may have a third.
        let normal_but_for_slashes = unreserved_only && !has_odd_segment(path);
        decode_slashes(out);
        if !normal_but_for_slashes || has_odd_segment(out) {
            return Err(Anomaly::HttpTarget);
        }
    } else {
        resolve(out);
    }
    out.extend_from_slice(query);
    Ok(())
}

/// Decodes unreserved characters (RFC 3986 §2.3) once; whether there are escaped slashes, which stay.
fn decode(path: &[u8], out: &mut Vec<u8>) -> Result<bool, Anomaly> {
    let mut slashes = false;
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (escape, behind) = rest.split_first_chunk::<2>().ok_or(Anomaly::HttpTarget)?;
        let value = hex(*escape).ok_or(Anomaly::HttpTarget)?;
        rest = behind;
        match value {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(value);
                continue;
            }
            // The end of a string in C; a slash to some; lead bytes of overlong forms and of no character at all.
            0 | b'\\' | 0xc0 | 0xc1 => return Err(Anomaly::HttpTarget),
            b'/' => slashes = true,
            // Whoever decodes twice would read something else again.
            b'%' => {
                let again = rest.first_chunk::<2>().and_then(|escape| hex(*escape));
                if matches!(again, Some(0 | b'.' | b'/' | b'\\' | b'%')) {
                    return Err(Anomaly::HttpTarget);
                }
            }
            _ => {}
        }
        out.push(b'%');
        out.extend_from_slice(escape);
    }
    Ok(slashes)
}

fn hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? << 4 | low?).ok()
}

/// Refuses what servers resolve in different ways.
fn check_segments(path: &[u8]) -> Result<(), Anomaly> {
    let mut empty = false;
    let mut up = false;
    let mut segments = path[1..].split(|&byte| byte == b'/').enumerate().peekable();
    while let Some((at, segment)) = segments.next() {
        let last = segments.peek().is_none();
        empty |= segment.is_empty() && !last;
        up |= segment == b"..";
        // `//host/path` is an authority to a server that resolves the target as a reference.
        if at == 0 && segment.is_empty() && !last {
            return Err(Anomaly::HttpTarget);
        }
        // Java servers cut parameters off before they resolve: `..;x` is `..` to them.
        if let Some(end) = parameters(segment)
            && matches!(&segment[..end], b"." | b"..")
        {
            return Err(Anomaly::HttpTarget);
        }
    }
    // `/a//../b` is `/a/b` or `/b`: it depends on whether slashes are merged first.
    if empty && up { Err(Anomaly::HttpTarget) } else { Ok(()) }
}

/// Where a segment's parameters begin.
fn parameters(segment: &[u8]) -> Option<usize> {
    let plain = segment.iter().position(|&byte| byte == b';');
    let escaped = segment.windows(3).position(|three| three.eq_ignore_ascii_case(b"%3b"));
    match (plain, escaped) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether a path has an empty segment before its end, or a dot segment.
fn has_odd_segment(path: &[u8]) -> bool {
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let empty = segment.is_empty() && segments.peek().is_some();
        let named = &segment[..parameters(segment).unwrap_or(segment.len())];
        if empty || matches!(named, b"." | b"..") {
            return true;
        }
    }
    false
}

/// Decodes escaped slashes in place.
fn decode_slashes(path: &mut Vec<u8>) {
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        let escaped = path[read..].first_chunk::<3>().is_some_and(|three| three.eq_ignore_ascii_case(b"%2f"));
        path[write] = if escaped { b'/' } else { path[read] };
        read += if escaped { 3 } else { 1 };
        write += 1;
    }
    path.truncate(write);
}

/// Removes dot segments (RFC 3986 §5.2.4) and merges slashes, in place. The path begins with a slash.
fn resolve(path: &mut Vec<u8>) {
    let len = path.len();
    // A segment moves towards the front or stays, so what is written never reaches what is read.
    let (mut read, mut write) = (1, 0);
    while read <= len {
        let end = path[read..].iter().position(|&byte| byte == b'/').map_or(len, |at| read + at);
        let kept = match &path[read..end] {
            b"" | b"." => false,
            b".." => {
                write = path[..write].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                false
            }
            _ => true,
        };
        if kept || end == len {
            path[write] = b'/';
            write += 1;
        }
        if kept {
            path.copy_within(read..end, write);
            write += end - read;
        }
        read = end + 1;
    }
    path.truncate(write);
}

/// Whether bytes are a host, with or without a port (RFC 3986 §3.2, without user information and escapes).
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host_fits, behind) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b']').unwrap_or(rest.len());
            let literal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            (end >= 2 && rest[..end].iter().all(literal), rest.get(end + 1..))
        }
        None => {
            let end = bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len());
            let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            (end > 0 && end <= 255 && bytes[..end].iter().all(name), bytes.get(end..))
        }
    };
    let port_fits = match behind {
        Some([]) => true,
        Some([b':', port @ ..]) => {
            (1..=5).contains(&port.len())
                && port.iter().all(u8::is_ascii_digit)
                && port.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 0xffff
        }
        _ => false,
    };
    host_fits && port_fits
}

#[cfg(test)]
mod tests;
