//! The L7 part of a record.

use super::{EventType, Extensions, FlowType, Record, Rule, Verdict, message_type, seen_from};
use crate::detail::Message;
use crate::event::{FlowEvent, MessageVerdict};
use policy::{Direction, Provenance};

impl Record {
    /// A message and what became of it.
    pub(super) fn message(
        &mut self,
        event: &FlowEvent,
        message: Option<&Message>,
        (verdict, direction): (MessageVerdict, Option<Direction>),
        rules: Vec<Provenance>,
        extra: &mut Extensions,
    ) {
        let _ = message;
        self.flow_type = FlowType::L7;
        self.event_type = Some(EventType { kind: message_type::L7, sub_type: 0 });
        self.traffic_direction = direction.map_or_else(|| seen_from(event), Into::into);
        self.is_reply = Some(event.is_reply);
        self.verdict = match verdict {
            MessageVerdict::Forwarded => Verdict::Forwarded,
            MessageVerdict::Dropped(_) => Verdict::Dropped,
            MessageVerdict::Audited => Verdict::Audit,
            MessageVerdict::Error => Verdict::Error,
        };
        extra.rules = rules.iter().map(Rule::from).collect();
    }
}
