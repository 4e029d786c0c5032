//! Hellos built by hand, and the conversations in `testdata/l7/tls`.

use l7::testing::{Event, Outcome, Recorder, Splice, agree};
use l7::tls::Tls;
use l7::{Anomaly, End, Side};

/// A hello before it is written: what is usual unless a test says otherwise.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) session: Vec<u8>,
    pub(crate) ciphers: Vec<u8>,
    pub(crate) compressions: Vec<u8>,
    /// `None`: not even their length, as before TLS 1.2.
    pub(crate) extensions: Option<Vec<(u16, Vec<u8>)>>,
    /// Behind the extensions.
    pub(crate) trailing: Vec<u8>,
}

impl Hello {
    /// One with signature algorithms, versions, and these extensions before them.
    pub(crate) fn with(extensions: &[(u16, Vec<u8>)]) -> Self {
        let mut all = extensions.to_vec();
        all.push((13, vec![0, 4, 4, 3, 8, 4]));
        all.push((43, vec![4, 3, 4, 3, 3]));
        Self {
            session: vec![7; 32],
            ciphers: vec![0x13, 0x01, 0xc0, 0x2b],
            compressions: vec![0],
            extensions: Some(all),
            trailing: Vec::new(),
        }
    }

    /// One with this name.
    pub(crate) fn named(name: &[u8]) -> Self {
        Self::with(&[server_name(name)])
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend(vector8(&self.session));
        body.extend(vector16(&self.ciphers));
        body.extend(vector8(&self.compressions));
        if let Some(extensions) = &self.extensions {
            let list: Vec<u8> = extensions
                .iter()
                .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vector16(data)].concat())
                .collect();
            body.extend(vector16(&list));
        }
        body.extend(&self.trailing);
        handshake(1, &body)
    }

    /// In one record.
    pub(crate) fn record(&self) -> Vec<u8> {
        record(22, &self.message())
    }
}

/// A server name extension with one name of type `host_name`.
pub(crate) fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    (0, vector16(&[&[0][..], &vector16(name)].concat()))
}

/// An encrypted hello; what is in it does not matter here.
pub(crate) fn encrypted() -> (u16, Vec<u8>) {
    (0xfe0d, vec![0; 200])
}

pub(crate) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (body.len() as u32).to_be_bytes();
    [&[kind][..], &length, body].concat()
}

pub(crate) fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &vector16(fragment)].concat()
}

/// A message in records of `len` bytes.
pub(crate) fn records(message: &[u8], len: usize) -> Vec<u8> {
    message.chunks(len).flat_map(|fragment| record(22, fragment)).collect()
}

pub(crate) fn vector8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8][..], bytes].concat()
}

pub(crate) fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// What the judge is told of a hello that it allows.
pub(crate) fn allowed(server_name: Option<&str>, encrypted: bool) -> String {
    format!("allow {:?}", l7::tls::TlsHello { server_name, encrypted })
}

/// One connection with a judge that allows everything.
pub(crate) fn open() -> Splice<Tls> {
    Splice::new(Tls::new(), Recorder::default())
}

/// What becomes of the client's first bytes, however they are cut.
pub(crate) fn first(bytes: &[u8]) -> Outcome {
    agree(&[Event::Send(Side::Client, bytes.to_vec())], open)
}

/// The client's first bytes are refused by this name, and nothing of them leaves.
pub(crate) fn assert_anomaly(bytes: &[u8], anomaly: Anomaly, what: &str) {
    let outcome = first(bytes);
    assert_eq!(outcome.end, Some(End::Anomaly(anomaly)), "{what}");
    assert!(outcome.to_server.is_empty() && outcome.told.is_empty() && !outcome.orderly, "{what}");
}

/// One conversation: its title, who said what.
pub(crate) struct Conversation {
    pub(crate) title: String,
    pub(crate) said: Vec<(Side, Vec<u8>)>,
}

/// All of them.
pub(crate) fn conversations() -> Vec<Conversation> {
    let mut all: Vec<Conversation> = Vec::new();
    let text = include_str!("../../../../testdata/l7/tls/conversations.txt");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_at(2) {
            ("==", title) => all.push(Conversation { title: title.trim().to_owned(), said: Vec::new() }),
            (who, hex) => {
                let side = if who == "> " { Side::Client } else { Side::Server };
                let bytes = (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"))
                    .collect();
                all.last_mut().expect("a title comes first").said.push((side, bytes));
            }
        }
    }
    assert!(all.len() == 10, "the file is cut short");
    all
}
