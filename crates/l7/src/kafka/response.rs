//! Responses: the error code for the log, topic ids, and the versions that a broker offers.

use super::ids::{Learner, TopicIds};
use super::refusal;
use super::schema::Api;
use super::table;
use super::walk::{Sink, walk};
use super::wire::{Fault, Reader};

/// Bytes of a response that are waited for to find its error code.
pub(super) const HEAD: usize = 256;
/// Bytes of the entry of one API in the answer to ApiVersions, tagged fields aside.
const ENTRY: usize = 6;

/// The last versions of APIs that are offered to clients although later ones are known: in these, topics still come by
/// name. Ids could be told apart only on a connection that saw the answer which named them.
const BY_NAME: [(i16, i16); 4] = [(0, 12), (1, 12), (8, 9), (9, 9)];

/// Waits for the first error code.
struct FirstCode(i16);

impl Sink<'_> for FirstCode {
    fn error(&mut self, code: i16) -> bool {
        self.0 = code;
        true
    }
}

/// The body of a response, behind correlation id and header.
pub(super) fn body<'a>(api: &Api, version: i16, bytes: &'a [u8], end: usize) -> Result<Reader<'a>, Fault> {
    let mut reader = Reader::new(bytes, 8, end);
    if api.is_flexible(version) && api.key != table::API_VERSIONS {
        reader.tags()?;
    }
    Ok(reader)
}

/// The first error code of a response, where it can be found in what is at hand; else 0.
pub(super) fn error_code(api: &'static Api, version: i16, bytes: &[u8], end: usize) -> i16 {
    let mut code = FirstCode(0);
    if let Ok(mut reader) = body(api, version, bytes, end) {
        // Whatever ends the walk: an error that was not found is not told.
        let _ = walk(api.response, version, api.is_flexible(version), &mut reader, &mut code);
    }
    code.0
}

/// Learns the topic ids of a response of which `bytes` are at hand; answers its first error code.
pub(super) fn learn(api: &'static Api, version: i16, bytes: &[u8], end: usize, ids: &mut TopicIds) -> i16 {
    let mut learner = Learner::new(ids);
    if let Ok(mut reader) = body(api, version, bytes, end) {
        // A response that ends at hand taught what it taught.
        let _ = walk(api.response, version, api.is_flexible(version), &mut reader, &mut learner);
    }
    learner.first_code()
}

/// What a client is to be offered of an API, if anything.
fn offered(key: i16, min: i16, max: i16) -> Option<(i16, i16)> {
    let api = table::api(key)?;
    let known = BY_NAME.iter().find(|(by_name, _)| *by_name == key).map_or(api.max, |(_, last)| *last);
    // A broker that has only versions with ids offers what it has: such requests are judged by ids that are known.
    let last = if known < min { api.max.min(max) } else { known.min(max) };
    // Version 0 of SaslHandshake is followed by bytes that are no requests.
    let first = if key == table::SASL_HANDSHAKE { 1.max(min) } else { min.max(api.min) };
    (first <= last).then_some((first, last))
}

/// Whether the answer to ApiVersions offers more than is read here; then what is to be said in its place.
pub(super) fn restrict(version: i16, bytes: &[u8], end: usize) -> Result<Option<Vec<u8>>, Fault> {
    let flexible = version >= 3;
    let mut reader = Reader::new(bytes, 4, end);
    let correlation = reader.take(4)?;
    let code = reader.int16()?;
    if code != 0 {
        // Nothing is offered. A broker that does not know the version answers in another one, or in a mix of them.
        return Ok(None);
    }
    let count = reader.count(flexible)?.unwrap_or(0);
    let mut changed = false;
    let mut kept = 0usize;
    let mut entries = Vec::new();
    for _ in 0..count {
        let start = reader.at();
        let (key, min, max) = (reader.int16()?, reader.int16()?, reader.int16()?);
        if flexible {
            reader.tags()?;
        }
        let Some((first, last)) = offered(key, min, max) else {
            changed = true;
            continue;
        };
        changed |= (first, last) != (min, max);
        kept += 1;
        for number in [key, first, last] {
            entries.extend_from_slice(&number.to_be_bytes());
        }
        entries.extend_from_slice(bytes.get(start + ENTRY..reader.at()).unwrap_or_default());
    }
    if !changed {
        return Ok(None);
    }
    let rest = bytes.get(reader.at()..end).ok_or(Fault::Short)?;
    let mut out = Vec::new();
    refusal::frame(&mut out, |out| {
        out.extend_from_slice(correlation);
        out.extend_from_slice(&code.to_be_bytes());
        super::wire::Writer::new(out, flexible).count(Some(kept));
        out.extend_from_slice(&entries);
        out.extend_from_slice(rest);
    });
    Ok(Some(out))
}

/// The answer to an ApiVersions request of a version that is not known: the versions that are, as brokers answer it.
pub(super) fn unknown_api_versions(correlation_id: i32, out: &mut Vec<u8>) {
    let max = table::api(table::API_VERSIONS).map_or(0, |api| api.max);
    refusal::frame(out, |out| {
        out.extend_from_slice(&correlation_id.to_be_bytes());
        let mut writer = super::wire::Writer::new(out, false);
        writer.number(table::UNSUPPORTED_VERSION.into(), 2);
        writer.count(Some(1));
        for number in [table::API_VERSIONS, 0, max] {
            writer.number(number.into(), 2);
        }
    });
}
