//! Cases as data: `testdata/evasion/*.toml`. The format is told in `testdata/evasion/README.md`.

use super::node::Rules;
use super::raw::{End, Say};
use packet::TcpFlags;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// One conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// What is tried, and why it must fail (or work).
    pub why: String,
    /// `http` (the default) or `l4`.
    #[serde(default)]
    rules: Option<String>,
    /// Initial sequence numbers of client and server.
    #[serde(default = "default_isns")]
    pub isns: [u32; 2],
    /// Both ends send timestamps.
    #[serde(default)]
    pub timestamps: bool,
    /// Options of both SYNs; by default a segment size of 1,460 and SACK permitted.
    #[serde(default = "default_options")]
    pub syn_options: Vec<u8>,
    /// The handshake is part of the steps.
    #[serde(default)]
    pub by_hand: bool,
    /// Windows that are announced where a step says none.
    #[serde(default = "default_windows")]
    pub windows: [u16; 2],
    pub steps: Vec<Step>,
    /// Every frame that was dropped, by reason.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
    /// Other ways than the whole message that give the same: only for cases of whole messages.
    #[serde(default)]
    pub split: bool,
}

/// One step. Exactly one of the first fields says which.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The client says.
    pub client: Option<String>,
    /// The server says.
    pub server: Option<String>,
    /// The server sees.
    pub to_server: Option<String>,
    /// The client sees.
    pub to_client: Option<String>,
    /// The client sees a refusal with that status.
    pub refused: Option<u16>,
    /// That many milliseconds pass.
    pub wait: Option<u64>,
    /// Nobody sees anything, not even an acknowledgement.
    pub silence: Option<bool>,

    pub at: Option<i64>,
    pub ack: Option<i64>,
    /// Of `SFRPU`; ACK is always there but with a `-`.
    pub flags: Option<String>,
    pub window: Option<u16>,
    pub urgent: Option<u16>,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Option<Vec<(i64, i64)>>,
    pub options: Option<Vec<u8>>,
    pub ttl: Option<u8>,
    pub checksum: Option<bool>,
    /// The text that many times.
    pub times: Option<usize>,
}

fn default_isns() -> [u32; 2] {
    [1_000, 5_000]
}

fn default_windows() -> [u16; 2] {
    [64_000; 2]
}

fn default_options() -> Vec<u8> {
    vec![2, 4, 5, 180, 4, 2]
}

impl Case {
    pub fn rules(&self) -> Rules {
        match self.rules.as_deref() {
            None | Some("http") => Rules::Http,
            Some("l4") => Rules::L4,
            Some(other) => panic!("{}: no such rules: {other}", self.name),
        }
    }
}

impl Step {
    pub fn bytes(&self, text: &str) -> Vec<u8> {
        text.chars()
            .map(|c| u8::try_from(c).expect("bytes up to \\u00FF"))
            .collect::<Vec<_>>()
            .repeat(self.times.unwrap_or(1))
    }

    pub fn flags(&self) -> u8 {
        let mut flags = TcpFlags::ACK;
        for letter in self.flags.as_deref().unwrap_or_default().chars() {
            match letter {
                'S' => flags |= TcpFlags::SYN,
                'F' => flags |= TcpFlags::FIN,
                'R' => flags |= TcpFlags::RST,
                'P' => flags |= TcpFlags::PSH,
                'U' => flags |= TcpFlags::URG,
                '-' => flags &= !TcpFlags::ACK,
                other => panic!("no such flag: {other}"),
            }
        }
        flags
    }

    /// The segment to say, if this step says one.
    pub fn say(&self, case: &Case) -> Option<(End, Say)> {
        let (end, text) = match (&self.client, &self.server) {
            (Some(text), None) => (End::Client, text),
            (None, Some(text)) => (End::Server, text),
            _ => return None,
        };
        let say = Say {
            at: self.at,
            ack: self.ack,
            flags: self.flags(),
            window: self.window.unwrap_or(case.windows[end.index()]),
            urgent: self.urgent.unwrap_or(0),
            timestamps: self.timestamps,
            sack: self.sack.clone().unwrap_or_default(),
            options: self.options.clone().unwrap_or_default(),
            ttl: self.ttl,
            bad_checksum: self.checksum == Some(false),
            payload: self.bytes(text),
        };
        Some((end, say))
    }
}

/// All cases of a file.
pub fn load(file: &str) -> Vec<Case> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../testdata/evasion", file].iter().collect();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut names = HashSet::new();
    for case in &file.case {
        assert!(names.insert(case.name.clone()), "{}: twice", case.name);
        assert!(case.why.ends_with('.'), "{}: a whole sentence", case.name);
        assert!(!case.steps.is_empty(), "{}: no steps", case.name);
    }
    file.case
}
