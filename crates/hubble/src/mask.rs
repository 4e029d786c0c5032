//! Field masks: which fields of a flow a client wants.
//!
//! A mask works on the encoded flow and knows fields by their numbers, so it needs no list of fields of its own.

use crate::proto::flow::Flow;
use crate::schema;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Most paths: far above the number of fields.
pub const MAX_PATHS: usize = 256;

/// What the paths of a mask are about.
const ROOT: &str = "flow.Flow";

/// Number of `Flow.extensions`.
const EXTENSIONS: u32 = 150_000;

/// A mask that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MaskError {
    /// No such field.
    #[error("field_mask: a flow has no field {0:?}")]
    Unknown(String),
    /// A path into a list.
    #[error("field_mask: {0:?} leads into a list, which can only be taken whole")]
    List(String),
    /// Beyond [`MAX_PATHS`].
    #[error("field_mask: more than {MAX_PATHS} paths")]
    TooMany,
}

/// Fields to keep, by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mask(Vec<Kept>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    number: u32,
    /// `None`: all of it.
    inner: Option<Mask>,
}

impl Mask {
    /// Reads the paths; `None` if there are none, which means everything.
    ///
    /// # Errors
    ///
    /// A path that leads nowhere.
    pub fn new<T: AsRef<str>>(paths: &[T]) -> Result<Option<Self>, MaskError> {
        if paths.len() > MAX_PATHS {
            return Err(MaskError::TooMany);
        }
        let mut mask = Self(Vec::new());
        for path in paths {
            mask.add(&numbers(path.as_ref())?);
        }
        Ok((!mask.0.is_empty()).then_some(mask))
    }

    /// Adds what the numbers lead to.
    fn add(&mut self, path: &[u32]) {
        let Some((number, rest)) = path.split_first() else { return };
        let inner = || if rest.is_empty() { None } else { Some(Self(Vec::new())) };
        let at = self.0.iter().position(|kept| kept.number == *number).unwrap_or_else(|| {
            self.0.push(Kept { number: *number, inner: inner() });
            self.0.len() - 1
        });
        match self.0.get_mut(at) {
            Some(kept) if rest.is_empty() => kept.inner = None,
            Some(Kept { inner: Some(inner), .. }) => inner.add(rest),
            // All of it is kept already.
            _ => {}
        }
    }

    /// Whether `Flow.extensions` is wanted, which costs more than the rest.
    #[must_use]
    pub fn wants_extensions(&self) -> bool {
        self.0.iter().any(|kept| kept.number == EXTENSIONS)
    }

    /// The flow with nothing but what is kept.
    #[must_use]
    pub fn apply(&self, flow: &Flow) -> Flow {
        let mut kept = Vec::new();
        // Both ends are ours, so neither can fail; a flow that did would be sent empty.
        self.prune(&flow.encode_to_vec(), &mut kept);
        Flow::decode(kept.as_slice()).unwrap_or_default()
    }

    /// Copies the wanted fields of an encoded message.
    fn prune(&self, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).ok()?;
            let length = match wire {
                WireType::Varint => {
                    let before = bytes;
                    decode_varint(&mut bytes).ok()?;
                    let length = before.len() - bytes.len();
                    bytes = before;
                    length
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
                WireType::StartGroup | WireType::EndGroup => return None,
            };
            let (value, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            let Some(kept) = self.0.iter().find(|kept| kept.number == number) else { continue };
            encode_key(number, wire, out);
            match &kept.inner {
                Some(inner) => {
                    let mut nested = Vec::with_capacity(value.len());
                    inner.prune(value, &mut nested)?;
                    encode_varint(nested.len() as u64, out);
                    out.extend_from_slice(&nested);
                }
                None => {
                    if wire == WireType::LengthDelimited {
                        encode_varint(value.len() as u64, out);
                    }
                    out.extend_from_slice(value);
                }
            }
        }
        Some(())
    }
}

/// The numbers of the fields on a path.
fn numbers(path: &str) -> Result<Vec<u32>, MaskError> {
    let unknown = || MaskError::Unknown(path.to_owned());
    let (mut message, mut found) = (ROOT, Vec::new());
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let field = schema::fields(message).iter().find(|field| field.name == step).ok_or_else(unknown)?;
        found.push(field.number);
        if steps.peek().is_none() {
            break;
        }
        if field.repeated {
            return Err(MaskError::List(path.to_owned()));
        }
        message = field.message.as_deref().ok_or_else(unknown)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::flow::{Endpoint, Ip, Workload};

    fn flow() -> Flow {
        #[expect(deprecated, reason = "the line for people is what clients print")]
        Flow {
            uuid: "u".into(),
            verdict: 2,
            ip: Some(Ip { source: "10.0.0.1".into(), destination: "10.0.0.2".into(), ..Ip::default() }),
            source: Some(Endpoint {
                identity: 1001,
                pod_name: "web".into(),
                labels: vec!["k8s:app=web".into()],
                workloads: vec![Workload { name: "web".into(), kind: "Deployment".into() }],
                ..Endpoint::default()
            }),
            is_reply: Some(false),
            summary: "TCP Flags: SYN".into(),
            socket_cookie: u64::MAX,
            ..Flow::default()
        }
    }

    fn masked(paths: &[&str]) -> Flow {
        Mask::new(paths).expect("a mask").expect("of something").apply(&flow())
    }

    #[test]
    fn keeps_what_is_named_and_nothing_else() {
        #[expect(deprecated, reason = "as above")]
        let expected = Flow {
            verdict: 2,
            source: Some(Endpoint { pod_name: "web".into(), identity: 1001, ..Endpoint::default() }),
            is_reply: Some(false),
            summary: "TCP Flags: SYN".into(),
            socket_cookie: u64::MAX,
            ..Flow::default()
        };
        let paths = ["verdict", "source.pod_name", "source.identity", "is_reply", "Summary", "socket_cookie"];
        assert_eq!(masked(&paths), expected);
        // The whole of a message counts for more than a part of it, in either order.
        assert_eq!(masked(&["source.pod_name", "source"]).source, flow().source);
        assert_eq!(masked(&["IP"]), Flow { ip: flow().ip, ..Flow::default() });
        // What is not there stays away.
        assert_eq!(masked(&["destination.pod_name"]), Flow::default());
    }

    #[test]
    fn the_whole_stays_whole_when_a_part_follows() {
        assert_eq!(masked(&["source", "source.pod_name"]).source, flow().source);
    }

    #[test]
    fn what_the_stock_client_asks_for_by_itself_is_understood() {
        let paths = "time source.identity source.namespace source.pod_name destination.identity \
                     destination.namespace destination.pod_name source_service destination_service l4 IP ethernet l7 \
                     Type node_name is_reply event_type verdict Summary";
        let paths: Vec<&str> = paths.split_whitespace().collect();
        let mask = Mask::new(&paths).expect("a mask").expect("of something");
        assert!(!mask.wants_extensions());
        assert_eq!(mask.apply(&flow()).source.map(|s| s.pod_name), Some("web".into()));
    }

    #[test]
    fn no_paths_mean_everything() {
        assert_eq!(Mask::new::<&str>(&[]), Ok(None));
    }

    #[test]
    fn paths_that_lead_nowhere_are_named() {
        let cases = [
            ("sauce", MaskError::Unknown("sauce".into())),
            ("", MaskError::Unknown(String::new())),
            ("source.", MaskError::Unknown("source.".into())),
            ("source.pod", MaskError::Unknown("source.pod".into())),
            ("verdict.name", MaskError::Unknown("verdict.name".into())),
            ("source.workloads.name", MaskError::List("source.workloads.name".into())),
        ];
        for (path, error) in cases {
            assert_eq!(Mask::new(&[path]), Err(error));
        }
        assert_eq!(Mask::new(&["verdict"; MAX_PATHS + 1]), Err(MaskError::TooMany));
        assert!(Mask::new(&["extensions"]).expect("a mask").expect("of one").wants_extensions());
    }
}
