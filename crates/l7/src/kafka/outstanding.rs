//! Requests without an answer, and answers of ours that wait for their turn.

use super::ids::MAX_NAME;
use super::metadata::Merge;
use super::schema::Api;
use crate::anomaly::Anomaly;
use std::collections::VecDeque;

/// Bytes of answers that wait. A client that is refused that much while it waits for the first response is cut off.
const MAX_WAITING: usize = 1024 * 1024;

/// A request that was passed on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) api: &'static Api,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    /// Its first topic.
    pub(super) topic: String,
    pub(super) since: u64,
    /// Whether the log knows of it.
    pub(super) told: bool,
    /// What is put into its response, and the size of the request that this stands for.
    pub(super) merge: Option<Box<(Merge, usize)>>,
    /// Topics of the session that its response may begin.
    pub(super) session: Option<Vec<String>>,
}

#[derive(Debug)]
enum Turn {
    /// The server's.
    Server(Asked),
    /// Ours, and what we say.
    Ours(Vec<u8>),
}

/// Whose turn it is to speak to the client, in the order of the requests.
#[derive(Default, Debug)]
pub(super) struct Outstanding {
    turns: VecDeque<Turn>,
    waiting: usize,
    /// Texts that were used, for their memory.
    texts: Vec<String>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Remembers a request that is passed on.
    pub(super) fn expect(
        &mut self,
        api: &'static Api,
        version: i16,
        correlation_id: i32,
        name: &str,
        since: u64,
        told: bool,
    ) {
        let mut topic = self.texts.pop().unwrap_or_default();
        topic.push_str(name.get(..MAX_NAME).unwrap_or(if name.len() > MAX_NAME { "" } else { name }));
        self.turns.push_back(Turn::Server(Asked {
            api,
            version,
            correlation_id,
            topic,
            since,
            told,
            merge: None,
            session: None,
        }));
    }

    /// The response of the request that was remembered last may begin a session.
    pub(super) fn session(&mut self, names: Option<Vec<String>>) {
        if let Some(Turn::Server(asked)) = self.turns.back_mut() {
            asked.session = names;
        }
    }

    /// Something is to be put into the response of the request that was remembered last, which has `len` bytes.
    pub(super) fn merge(&mut self, merge: Merge, len: usize) -> Result<(), Anomaly> {
        self.wait(len)?;
        if let Some(Turn::Server(asked)) = self.turns.back_mut() {
            asked.merge = Some(Box::new((merge, len)));
        }
        Ok(())
    }

    fn wait(&mut self, len: usize) -> Result<(), Anomaly> {
        self.waiting += len;
        if self.waiting > MAX_WAITING { Err(Anomaly::KafkaTooManyOutstanding) } else { Ok(()) }
    }

    /// Says an answer of ours, now or when its turn comes.
    pub(super) fn say(&mut self, answer: Vec<u8>, to_client: &mut Vec<u8>) -> Result<(), Anomaly> {
        if self.turns.is_empty() {
            to_client.extend_from_slice(&answer);
            return Ok(());
        }
        self.wait(answer.len())?;
        self.turns.push_back(Turn::Ours(answer));
        Ok(())
    }

    /// Says the answers whose turn has come.
    pub(super) fn say_due(&mut self, to_client: &mut Vec<u8>) {
        while let Some(Turn::Ours(answer)) = self.turns.pop_front_if(|turn| matches!(turn, Turn::Ours(_))) {
            self.waiting -= answer.len();
            to_client.extend_from_slice(&answer);
        }
    }

    /// The request that the server is to answer.
    pub(super) fn first(&self) -> Option<&Asked> {
        match self.turns.front()? {
            Turn::Server(asked) => Some(asked),
            Turn::Ours(_) => None,
        }
    }

    /// Takes the topics of the session that its response may begin.
    pub(super) fn begun(&mut self) -> Option<Vec<String>> {
        match self.turns.front_mut()? {
            Turn::Server(asked) => asked.session.take(),
            Turn::Ours(_) => None,
        }
    }

    /// Takes it away.
    pub(super) fn answered(&mut self) -> Option<Asked> {
        match self.turns.pop_front()? {
            Turn::Server(asked) => {
                self.waiting -= asked.merge.as_ref().map_or(0, |merge| merge.1);
                Some(asked)
            }
            Turn::Ours(_) => None,
        }
    }

    /// Keeps the memory of a text.
    pub(super) fn reuse(&mut self, mut text: String) {
        if self.texts.len() < 16 {
            text.clear();
            self.texts.push(text);
        }
    }
}
