//! One TLS connection, as far as it is read.
//!
//! ```text
//! client   First ── judged ──▶ Early ── server asked again ──▶ Second ── same name ──▶ Free
//!                                └───────── server went on ──────────────────────────▶ Free
//! server   Silent ─── client judged ───▶ Answering ── first message known ──▶ Free
//! ```

use super::TlsHello;
use super::hello::client_hello;
use super::record::{
    ALERT, APPLICATION_DATA, Assembly, CHANGE_CIPHER_SPEC, HANDSHAKE, Header, MESSAGE_HEADER, Progress,
    RECORD_HEADER, with_body,
};
use crate::anomaly::Anomaly;
use crate::inspector::{Context, End, Inspector, Side, Step};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The random of a ServerHello that asks for a second hello (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Type and length of the message, its version, its random.
const SERVER_HELLO_HEAD: usize = MESSAGE_HEADER + 2 + RETRY_RANDOM.len();
/// All that ever comes.
const EVERYTHING: Step = Step::Pass { counted: 0, free: u64::MAX };

/// One connection.
#[derive(Debug, Default)]
pub struct Tls {
    client: Client,
    server: Server,
    /// The hello that is waited for.
    assembly: Assembly,
    /// What the first hello said; kept while a second may come.
    first: Option<First>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Client {
    #[default]
    First,
    Early,
    Second,
    /// Everything may pass, and was not said to yet.
    Freed,
    Free,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Server {
    #[default]
    Silent,
    Answering,
    Free,
}

#[derive(Debug)]
struct First {
    server_name: Option<Box<str>>,
    encrypted: bool,
}

impl First {
    fn is_repeated_by(&self, hello: &TlsHello<'_>) -> bool {
        self.server_name.as_deref() == hello.server_name && self.encrypted == hello.encrypted
    }
}

impl Tls {
    /// A connection on which nothing was said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The client's first message.
    fn first(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<Step, End> {
        let Progress::Complete(len) = self.assembly.advance(bytes, CLIENT_HELLO)? else {
            return Ok(Step::NeedMore);
        };
        let judged = with_body(&bytes[..len], |body| {
            client_hello(body, |hello| {
                let first =
                    First { server_name: hello.server_name.map(Box::from), encrypted: hello.encrypted };
                (cx.judge.tls_hello(hello), first)
            })
        });
        let (allowed, first) = judged.ok_or(Anomaly::TlsHello)?;
        if !allowed {
            return Err(End::Refused);
        }
        self.first = Some(first);
        self.client = Client::Early;
        self.server = Server::Answering;
        Ok(Step::Pass { counted: len, free: 0 })
    }

    /// Records behind the first hello. Early data, the change of ciphers that is sent for old routers (RFC 8446 §D.4)
    /// and alerts need no look; a handshake message before the server has answered must wait for what that says.
    fn early(&mut self, bytes: &[u8]) -> Result<Step, End> {
        match bytes.first() {
            None => return Ok(Step::NeedMore),
            Some(&HANDSHAKE) if self.client == Client::Second => return self.second(bytes),
            Some(&HANDSHAKE) => return Ok(Step::NeedMore),
            Some(&(CHANGE_CIPHER_SPEC | ALERT | APPLICATION_DATA)) => {}
            Some(_) => return Err(Anomaly::TlsHello.into()),
        }
        Ok(match Header::read(bytes) {
            None => Step::NeedMore,
            Some(header) => Step::Pass { counted: RECORD_HEADER, free: header.len as u64 },
        })
    }

    /// The hello that the server asked for.
    fn second(&mut self, bytes: &[u8]) -> Result<Step, End> {
        let Progress::Complete(len) = self.assembly.advance(bytes, CLIENT_HELLO)? else {
            return Ok(Step::NeedMore);
        };
        let first = self.first.take();
        let same = with_body(&bytes[..len], |body| {
            client_hello(body, |hello| first.is_some_and(|first| first.is_repeated_by(hello)))
        });
        if same != Some(true) {
            return Err(Anomaly::TlsHello.into());
        }
        self.client = Client::Free;
        Ok(Step::Pass { counted: len, free: u64::MAX })
    }

    /// The server's first message, as far as it must be there to be known.
    fn answer(&mut self, bytes: &[u8]) -> Step {
        let Some(retry) = asks_again(bytes) else { return Step::NeedMore };
        self.server = Server::Free;
        if retry {
            self.client = Client::Second;
            self.assembly = Assembly::default();
        } else {
            self.client = Client::Freed;
            self.first = None;
        }
        EVERYTHING
    }
}

impl From<Anomaly> for End {
    fn from(anomaly: Anomaly) -> Self {
        Self::Anomaly(anomaly)
    }
}

impl Inspector for Tls {
    fn feed(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Step {
        let step = match (side, self.client, self.server) {
            (Side::Client, Client::First, _) => self.first(bytes, cx),
            (Side::Client, Client::Early | Client::Second, _) => self.early(bytes),
            (Side::Client, Client::Freed, _) => {
                self.client = Client::Free;
                Ok(EVERYTHING)
            }
            (Side::Server, _, Server::Answering) => Ok(self.answer(bytes)),
            (Side::Server, _, Server::Silent) if !bytes.is_empty() => Err(Anomaly::TlsNotTls.into()),
            _ => Ok(Step::NeedMore),
        };
        step.unwrap_or_else(Step::End)
    }

    /// What was not decided goes nowhere; the end itself does.
    fn finish(&mut self, _side: Side, _undecided: usize, _cx: &mut Context<'_>) -> Option<End> {
        None
    }
}

/// Whether a server's first bytes ask for a second hello; `None` while that cannot be said. What is no ServerHello (an
/// alert, or not TLS at all) does not.
fn asks_again(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    let mut head = [0; SERVER_HELLO_HEAD];
    let mut have = 0;
    while have < head.len() {
        match rest.first() {
            None => return None,
            Some(&HANDSHAKE) => {}
            Some(_) => return Some(false),
        }
        let record = Header::read(rest)?;
        if record.len == 0 {
            return Some(false);
        }
        rest = &rest[RECORD_HEADER..];
        let fragment = &rest[..record.len.min(rest.len())];
        for (to, from) in head[have..].iter_mut().zip(fragment) {
            *to = *from;
        }
        have = (have + fragment.len()).min(head.len());
        if have > 0 && head[0] != SERVER_HELLO {
            return Some(false);
        }
        rest = &rest[fragment.len()..];
    }
    Some(head.ends_with(&RETRY_RANDOM))
}
