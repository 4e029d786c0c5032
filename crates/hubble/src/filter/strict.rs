//! A filter that notices fields which it does not know.
//!
//! protobuf says to drop them, which is right for answers and wrong for filters: a newer client that asks for less
//! would be sent more.

use crate::proto::flow::FlowFilter;
use crate::schema;
use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field};

/// A filter and the first unknown field that came with it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Strict {
    known: FlowFilter,
    unknown: Option<u32>,
}

impl Strict {
    /// The fields that are known.
    #[must_use]
    pub const fn known(&self) -> &FlowFilter {
        &self.known
    }

    /// The number of a field that is not.
    #[must_use]
    pub const fn unknown(&self) -> Option<u32> {
        self.unknown
    }
}

impl From<FlowFilter> for Strict {
    fn from(known: FlowFilter) -> Self {
        Self { known, unknown: None }
    }
}

impl prost::Message for Strict {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.known.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if schema::fields("flow.FlowFilter").iter().any(|field| field.number == tag) {
            return self.known.merge_field(tag, wire_type, buf, ctx);
        }
        self.unknown.get_or_insert(tag);
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.known.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
