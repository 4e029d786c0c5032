//! What a request says (RFC 9113 §8.1 to §8.3), and whether it may say so.

use super::hpack::Fields;
use crate::anomaly::Anomaly;
use crate::http::Header;
use crate::http1::target;

/// Why a header list is no request that can be judged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// RFC 9113 §8.1.1.
    Malformed,
    /// It says something, but nothing that is carried: CONNECT, plain or extended, because what follows would be opaque;
    /// a target that servers read in different ways.
    Refused(Anomaly),
}

/// A request's head.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) path: &'a [u8],
    /// Whether the normal path may be another one.
    pub(super) odd_path: bool,
    /// `:authority`, else `host`.
    pub(super) host: &'a [u8],
    pub(super) content_length: Option<u64>,
    /// Whether it is a gRPC call, by its content type.
    pub(super) grpc: bool,
}

/// What was found out about a header list that is a request, so that the same list need not be looked at again. Fields
/// are numbered as they stand in the list.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    method: usize,
    path: usize,
    host: usize,
    /// How many fields come first that are pseudo-headers.
    pseudo: usize,
    odd_path: bool,
    content_length: Option<u64>,
    grpc: bool,
    /// What the server was said to read when this was found out.
    binary: bool,
}

/// Reads a request; its fields other than pseudo-headers are put into `headers`, which is empty. What was `known` of this
/// list is believed.
pub(super) fn read<'a>(
    fields: &'a Fields,
    known: Option<Head>,
    end_stream: bool,
    binary: bool,
    headers: &mut Vec<Header<'a>>,
) -> Result<(Head, Request<'a>), Fault> {
    let head = match known.filter(|head| head.binary == binary) {
        Some(head) => head,
        None => check(fields, binary)?,
    };
    if end_stream && head.content_length.is_some_and(|length| length > 0) {
        return Err(Fault::Malformed);
    }
    let value = |number| fields.list().get(number).map_or(&[][..], |&field| fields.value(field));
    headers.extend(fields.iter().skip(head.pseudo).map(|(name, value)| Header { name, value }));
    let request = Request {
        method: value(head.method),
        path: value(head.path),
        odd_path: head.odd_path,
        host: value(head.host),
        content_length: head.content_length,
        grpc: head.grpc,
    };
    Ok((head, request))
}

/// Whether a list is a request that can be judged.
fn check(fields: &Fields, binary: bool) -> Result<Head, Fault> {
    let mut head = Head { binary, ..Head::default() };
    let mut pseudo = Pseudo::default();
    let mut host = None;
    for (number, (name, value)) in fields.iter().enumerate() {
        check_value(name, value, binary)?;
        if name.first() == Some(&b':') {
            // RFC 9113 §8.3: all of them before the others.
            if head.pseudo < number {
                return Err(Fault::Malformed);
            }
            head.pseudo += 1;
            pseudo.take(name, (number, value))?;
            continue;
        }
        check_field(name, value)?;
        match name {
            b"host" if host.replace((number, value)).is_some() => return Err(Fault::Malformed),
            b"content-length" if head.content_length.replace(parse_length(value)?).is_some() => {
                return Err(Fault::Malformed);
            }
            b"content-type" => head.grpc = is_grpc(value),
            _ => {}
        }
    }
    pseudo.finish(&mut head, host)?;
    Ok(head)
}

/// Checks trailers: fields as in a head, and no pseudo-headers (RFC 9113 §8.1).
pub(super) fn check_trailers(fields: &Fields, binary: bool) -> Result<(), Fault> {
    fields.iter().try_for_each(|(name, value)| {
        if matches!(name, b"host" | b"content-length") {
            return Err(Fault::Malformed);
        }
        check_value(name, value, binary)?;
        check_field(name, value)
    })
}

/// A field's number and value.
type Numbered<'a> = (usize, &'a [u8]);

/// Pseudo-headers of a request, as they come.
#[derive(Default)]
struct Pseudo<'a> {
    method: Option<Numbered<'a>>,
    scheme: Option<Numbered<'a>>,
    authority: Option<Numbered<'a>>,
    path: Option<Numbered<'a>>,
    protocol: Option<Numbered<'a>>,
}

impl<'a> Pseudo<'a> {
    fn take(&mut self, name: &[u8], field: Numbered<'a>) -> Result<(), Fault> {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return Err(Fault::Malformed),
        };
        if place.replace(field).is_some() { Err(Fault::Malformed) } else { Ok(()) }
    }

    /// RFC 9113 §8.3.1.
    fn finish(self, head: &mut Head, host: Option<Numbered<'a>>) -> Result<(), Fault> {
        let (number, method) = self.method.filter(|(_, method)| is_token(method)).ok_or(Fault::Malformed)?;
        head.method = number;
        if method == b"CONNECT" || self.protocol.is_some() {
            return Err(Fault::Refused(Anomaly::HttpUpgrade));
        }
        if self.scheme.is_none_or(|(_, scheme)| !is_token(scheme)) {
            return Err(Fault::Malformed);
        }
        let (number, path) = self
            .path
            .filter(|(_, path)| matches!(path.first(), Some(b'/' | b'*')))
            .ok_or(Fault::Malformed)?;
        head.path = number;
        head.odd_path = target::split(method, path).map_err(Fault::Refused)?.odd;
        let (number, name) = match (self.authority, host) {
            // Servers differ in which of the two they read.
            (Some((_, authority)), Some((_, host))) if !authority.eq_ignore_ascii_case(host) => {
                return Err(Fault::Malformed);
            }
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => return Err(Fault::Malformed),
        };
        head.host = number;
        if target::is_authority(name) { Ok(()) } else { Err(Fault::Malformed) }
    }
}

/// RFC 9113 §8.2.
fn check_field(name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let forbidden = match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => !is_name(name),
    };
    if forbidden { Err(Fault::Malformed) } else { Ok(()) }
}

/// A number of octets; a sign, white space or a list is none.
fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() {
        return Err(Fault::Malformed);
    }
    value.iter().try_fold(0u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'));
        let length = digit.and_then(|digit| length.checked_mul(10)?.checked_add(digit));
        length.ok_or(Fault::Malformed)
    })
}

/// `application/grpc`, alone or with a suffix or parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some((head, rest)) = content_type.split_at_checked(b"application/grpc".len()) else { return false };
    head.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// What an octet may stand in.
mod class {
    pub(super) const TOKEN: u8 = 1;
    pub(super) const NAME: u8 = 2;
}

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut octet = 0x21;
    while octet < 0x7f {
        let alphanumeric = (octet as u8).is_ascii_alphanumeric();
        let token = matches!(
            octet as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        if alphanumeric || token {
            classes[octet] |= class::TOKEN;
            if !(octet as u8).is_ascii_uppercase() {
                classes[octet] |= class::NAME;
            }
        }
        octet += 1;
    }
    classes
}

fn all(octets: &[u8], class: u8) -> bool {
    !octets.is_empty() && octets.iter().fold(class, |left, &octet| left & CLASSES[usize::from(octet)]) != 0
}

fn is_token(octets: &[u8]) -> bool {
    all(octets, class::TOKEN)
}

/// RFC 9113 §8.2.1: a token without upper-case letters.
fn is_name(octets: &[u8]) -> bool {
    all(octets, class::NAME)
}

/// Whether there is an octet below 0x20, or DEL. Looks at eight at a time.
fn may_hold_control(octets: &[u8]) -> bool {
    const EACH: u64 = u64::MAX / 255;
    // The high bit of each octet below `n`, which is at most 0x80; a borrow can only spoil octets behind the first such one.
    let below = |word: u64, n: u64| word.wrapping_sub(EACH * n) & !word & (EACH * 0x80);
    let (words, rest) = octets.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_le_bytes(*word);
        found | below(word, 0x20) | below(word ^ (EACH * 0x7f), 1)
    });
    found != 0 || rest.iter().any(|&octet| octet < 0x20 || octet == 0x7f)
}

/// RFC 9113 §8.2.1: no white space around it, and no control characters but the tabulator. With `binary` metadata
/// everything behind a leading zero; whoever announced that does not read such a field as text.
fn check_value(name: &[u8], value: &[u8], binary: bool) -> Result<(), Fault> {
    let space = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let control = |octet: u8| ((octet < 0x20) & (octet != b'\t')) | (octet == 0x7f);
    let bad = may_hold_control(value) && value.iter().any(|&octet| control(octet));
    if !bad && !space(value.first()) && !space(value.last()) {
        return Ok(());
    }
    if binary && value.first() == Some(&0) && name.ends_with(b"-bin") {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_at_every_place_of_a_value_is_classed() {
        for at in 0..19 {
            for octet in 0..=255 {
                let mut value = [b'x'; 19];
                value[at] = octet;
                let control = octet != b'\t' && (octet < 0x20 || octet == 0x7f);
                let outside = matches!(octet, b'\t' | b' ') && (at == 0 || at == 18);
                let fault = if control || outside { Err(Fault::Malformed) } else { Ok(()) };
                assert_eq!(check_value(b"name", &value, false), fault, "{octet:#x} at {at}");
            }
        }
    }
}
