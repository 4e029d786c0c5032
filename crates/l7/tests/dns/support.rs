//! A judge that writes short lines, and the conversations in `testdata/l7/dns`.

use l7::dns::{Answer, DatagramStep, Query, Udp};
use l7::http::{HttpRequest, HttpResponse};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Context, Judge, Learning, Settings, Side};

/// Refuses names below `denied.test`.
pub(crate) fn allows(query: &Query<'_>) -> bool {
    !query.name.ends_with("denied.test")
}

/// Writes down what it is told.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) told: Vec<String>,
    /// Times that an answer is not in force yet.
    pub(crate) pending: u32,
}

const fn root(name: &str) -> &str {
    if name.is_empty() { "." } else { name }
}

impl Judge for Lines {
    fn dns_query(&mut self, query: &Query<'_>) -> bool {
        let allowed = allows(query);
        let verb = if allowed { "allow" } else { "deny" };
        self.told.push(format!("{verb} {:#06x} {} {}", query.id, root(query.name), query.qtype));
        allowed
    }

    fn dns_answer(&mut self, answer: &Answer<'_>) -> Learning {
        let Query { id, name, qtype } = answer.query;
        self.told.push(format!(
            "answer {id:#06x} {} {qtype} rcode={} ttl={} {:?} via [{}]{}",
            root(name),
            answer.rcode,
            answer.ttl,
            answer.addresses,
            answer.cnames.join(", "),
            if answer.latency_ns == 0 { String::new() } else { format!(" after {} ns", answer.latency_ns) },
        ));
        if self.pending == 0 {
            return Learning::Done;
        }
        self.pending -= 1;
        Learning::Pending
    }

    fn oddity(&mut self, anomaly: Anomaly) {
        self.told.push(format!("oddity {}", anomaly.name()));
    }

    fn http_request(&mut self, _: &HttpRequest<'_>) -> bool {
        unreachable!("no HTTP here")
    }

    fn http_response(&mut self, _: &HttpResponse<'_>) {}

    fn kafka_request(&mut self, _: &KafkaRequest<'_>) -> bool {
        unreachable!("no Kafka here")
    }

    fn kafka_response(&mut self, _: &KafkaResponse<'_>) {}

    fn tls_hello(&mut self, _: &TlsHello<'_>) -> bool {
        unreachable!("no TLS here")
    }
}

/// A datagram of `side` at `now`; what becomes of it, and what the client is sent.
pub(crate) fn datagram(
    udp: &mut Udp,
    judge: &mut dyn Judge,
    settings: &Settings,
    now: u64,
    side: Side,
    bytes: &[u8],
) -> (DatagramStep, Vec<u8>) {
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let mut cx = Context { judge, now, settings, to_client: &mut to_client, to_server: &mut to_server };
    let step = match side {
        Side::Client => udp.query(bytes, &mut cx),
        Side::Server => udp.response(bytes, &mut cx),
    };
    assert!(to_server.is_empty());
    (step, to_client)
}

/// One message of a conversation.
pub(crate) struct Message {
    pub(crate) side: Side,
    pub(crate) bytes: Vec<u8>,
    /// As [`step_line`] writes it.
    pub(crate) step: String,
    pub(crate) told: Vec<String>,
}

/// One conversation.
pub(crate) struct Conversation {
    pub(crate) title: String,
    pub(crate) messages: Vec<Message>,
}

/// All of them.
pub(crate) fn conversations() -> Vec<Conversation> {
    let text = include_str!("../../../../testdata/l7/dns/conversations.txt");
    let mut all: Vec<Conversation> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("== ") {
            all.push(Conversation { title: title.to_owned(), messages: Vec::new() });
            continue;
        }
        let messages = &mut all.last_mut().expect("a title comes first").messages;
        if let Some(bytes) = line.strip_prefix("> ") {
            messages.push(Message::new(Side::Client, bytes));
        } else if let Some(bytes) = line.strip_prefix("< ") {
            messages.push(Message::new(Side::Server, bytes));
        } else {
            let message = messages.last_mut().expect("a message comes first");
            match line.trim_start().split_once("told ") {
                Some(("", told)) => message.told.push(told.to_owned()),
                _ => line.trim().clone_into(&mut message.step),
            }
        }
    }
    assert!(all.len() > 70, "the file is cut short");
    all
}

impl Message {
    fn new(side: Side, hex: &str) -> Self {
        Self { side, bytes: from_hex(hex), step: String::new(), told: Vec::new() }
    }
}

/// What became of a datagram, in one line.
pub(crate) fn step_line(step: DatagramStep, to_client: &[u8]) -> String {
    match step {
        DatagramStep::Pass => "Pass".to_owned(),
        DatagramStep::Wait => "Wait".to_owned(),
        DatagramStep::Drop(anomaly) => format!("Drop {}", anomaly.name()),
        DatagramStep::Answer => {
            let hex: String = to_client.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("Answer {hex}")
        }
    }
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// A message behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message fits its length");
    [&len.to_be_bytes()[..], message].concat()
}

/// A message with one question and `records` (built by hand) as its answer section.
pub(crate) fn message(id: u16, flags: u16, name: &str, qtype: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, records.len() as u16, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(records.concat());
    bytes
}

/// An A record of the question's name.
pub(crate) fn address(last: u16) -> Vec<u8> {
    let [high, low] = last.to_be_bytes();
    vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, high, low]
}
