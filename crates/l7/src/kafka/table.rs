//! The APIs that are known, with all their versions: those that brokers from 0.8 to 4.2 have or had.
//!
//! One line for key, name, first, last and first flexible version and the code of a refusal; one for the fields of the
//! request and one for those of the response, in the words of [`schema`](super::schema). Source: the message
//! definitions of Apache Kafka 3.9 (versions that 4.0 dropped) and of the trunk of August 2026.
//!
//! What names topics: every field that the definitions mark as a topic name, topic ids, the patterns of a subscription,
//! resources of type topic. What does not count although it holds topics: the topics that a fetch *forgets*, the
//! cursor of DescribeTopicPartitions, partitions that a group member says it owns (a heartbeat gives no access), the
//! opaque subscription within JoinGroup, access control lists. An Envelope carries a request within; it counts as one
//! with a topic that no rule names.

mod admin;
mod groups;
mod quorum;
mod records;
mod share;

use super::schema::Api;

/// TOPIC_AUTHORIZATION_FAILED.
pub(super) const TOPIC: i16 = 29;
/// GROUP_AUTHORIZATION_FAILED.
pub(super) const GROUP: i16 = 30;
/// CLUSTER_AUTHORIZATION_FAILED.
pub(super) const CLUSTER: i16 = 31;
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
pub(super) const TRANSACTIONAL_ID: i16 = 53;
/// UNSUPPORTED_VERSION.
pub(super) const UNSUPPORTED_VERSION: i16 = 35;

pub(super) const PRODUCE: i16 = 0;
pub(super) const FETCH: i16 = 1;
pub(super) const METADATA: i16 = 3;
pub(super) const CONTROLLED_SHUTDOWN: i16 = 7;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;
pub(super) const CREATE_TOPICS: i16 = 19;

const PARTS: [&[Api]; 5] = [records::RECORDS, groups::GROUPS, admin::ADMIN, quorum::QUORUM, share::SHARE];

/// The API with a key.
pub(super) fn api(key: i16) -> Option<&'static Api> {
    let mut at = usize::try_from(key).ok()?;
    for part in PARTS {
        match part.get(at) {
            Some(api) => return Some(api),
            None => at -= part.len(),
        }
    }
    None
}

/// All of them.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Api> {
    PARTS.into_iter().flatten()
}
