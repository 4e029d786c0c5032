//! Plays a case and compares everything.

use super::case::{Case, Step};
use super::raw::{End, Say, Seen, Wire};
use super::run::drops;
use packet::TcpFlags;
use std::collections::BTreeMap;
use std::time::Duration;

/// Flags that a case states; PSH and ACK are nobody's business.
const STATED: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::URG;

/// How what a client says is cut.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As the case has it.
    Whole,
    /// Each text into two segments, there.
    At(usize),
    /// Into segments of that many bytes.
    Every(usize),
}

pub struct Referee<'a> {
    case: &'a Case,
    wire: Wire,
    cut: Cut,
    /// What each end must see next.
    next: [i64; 2],
}

impl<'a> Referee<'a> {
    pub fn new(case: &'a Case, cut: Cut) -> Self {
        let wire = Wire::new(case.rules(), case.isns, case.timestamps);
        Self { case, wire, cut, next: [0; 2] }
    }

    pub fn play(mut self) -> Result<(), String> {
        if !self.case.by_hand {
            self.open()?;
        }
        for (number, step) in self.case.steps.iter().enumerate() {
            self.step(step).map_err(|what| format!("step {}: {what}\n  {step:?}", number + 1))?;
        }
        self.nothing_unseen().map_err(|what| format!("at the end: {what}"))?;
        self.compare_drops()?;
        // Both ends fall silent: whatever is held is given back in the end.
        self.wire.wait(Duration::from_secs(400));
        self.wire.node.poll();
        match self.wire.node.used_buffers() {
            0 => Ok(()),
            n => Err(format!("{n} frames are never given back")),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        let case = self.case;
        let mut options = case.syn_options.clone();
        options.resize(options.len().next_multiple_of(4), 1);
        let syn = Say {
            at: Some(-1),
            flags: TcpFlags::SYN,
            window: case.windows[0],
            options: options.clone(),
            ..Say::default()
        };
        let answer = Say { flags: TcpFlags::SYN | TcpFlags::ACK, window: case.windows[1], ..syn.clone() };
        let ack = Say { flags: TcpFlags::ACK, window: case.windows[0], ..Say::default() };
        for (end, say) in [(End::Client, syn), (End::Server, answer), (End::Client, ack)] {
            self.wire.say(end, &say);
            let seen: Vec<Seen> = self.wire.unseen(end.peer()).drain(..).collect();
            match seen.as_slice() {
                [one] if one.flags == say.flags && one.payload.is_empty() => {}
                other => return Err(format!("the handshake does not pass: {other:?}")),
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some((end, say)) = step.say(self.case) {
            self.nothing_unseen()?;
            return self.say(end, &say);
        }
        if let Some(time) = step.wait {
            self.nothing_unseen()?;
            self.wire.wait(Duration::from_millis(time));
            return Ok(());
        }
        if let Some(status) = step.refused {
            return self.refused(status, step);
        }
        if step.silence == Some(true) {
            for end in End::BOTH {
                if let Some(seen) = self.wire.unseen(end).first() {
                    return Err(format!("the {end:?} sees {}", shown(seen)));
                }
            }
            return Ok(());
        }
        match (&step.to_server, &step.to_client) {
            (Some(text), None) => self.sees(End::Server, &step.bytes(text), step),
            (None, Some(text)) => self.sees(End::Client, &step.bytes(text), step),
            _ => Err("a step says one thing".into()),
        }
    }

    /// Cut or whole; what was cut is acknowledged as it comes, as a real receiver would.
    fn say(&mut self, end: End, say: &Say) -> Result<(), String> {
        let pieces: Vec<&[u8]> = match self.cut {
            Cut::At(at) if at < say.payload.len() && at > 0 => {
                let (first, second) = say.payload.split_at(at);
                vec![first, second]
            }
            Cut::Every(size) if !say.payload.is_empty() => say.payload.chunks(size).collect(),
            _ => vec![&say.payload],
        };
        let last = pieces.len() - 1;
        let mut at = say.at;
        for (number, piece) in pieces.into_iter().enumerate() {
            if self.is_cut_off(end) {
                break;
            }
            let flags = if number == last { say.flags } else { say.flags & !TcpFlags::FIN };
            let part = Say { payload: piece.to_vec(), at, flags, ..say.clone() };
            self.wire.say(end, &part);
            at = at.map(|at| at + piece.len() as i64);
            if self.case.split && !self.is_cut_off(end.peer()) {
                let ack = Say {
                    flags: TcpFlags::ACK,
                    window: self.case.windows[end.peer().index()],
                    ..Say::default()
                };
                self.wire.say(end.peer(), &ack);
            }
        }
        Ok(())
    }

    /// Whether that end was reset: it says nothing any more.
    fn is_cut_off(&mut self, end: End) -> bool {
        self.wire.unseen(end).iter().any(|seen| seen.flags & TcpFlags::RST != 0)
    }

    /// Compares what an end sees next.
    fn sees(&mut self, end: End, expected: &[u8], step: &Step) -> Result<(), String> {
        let bare = expected.is_empty() && step.flags() & STATED == 0;
        if bare {
            return self.acknowledged(end, step);
        }
        let (payload, first) = if self.case.split {
            self.gather(end, expected.len(), step.flags() & TcpFlags::RST != 0)?
        } else {
            let seen = self.pop(end)?;
            (seen.payload.clone(), seen)
        };
        let at = step.at.unwrap_or(self.next[end.index()]);
        let wrong = |what: &str| Err(format!("{what}: the {end:?} sees {}", shown(&first)));
        if payload != expected {
            return Err(format!("the {end:?} sees {}\n  {}", text(&payload), shown(&first)));
        }
        if first.at != at {
            return wrong(&format!("at {} and not {at}", first.at));
        }
        if (first.flags ^ step.flags()) & STATED != 0 {
            return wrong("flags");
        }
        self.compare_fields(&first, step).or_else(|what| wrong(&what))?;
        let fin = i64::from(first.flags & TcpFlags::FIN != 0);
        let behind = at + payload.len() as i64 + fin;
        self.next[end.index()] = self.next[end.index()].max(behind);
        Ok(())
    }

    fn compare_fields(&self, seen: &Seen, step: &Step) -> Result<(), String> {
        let differs = |what: &str, is: String, must: String| Err(format!("{what} {is} and not {must}"));
        if let Some(ack) = step.ack
            && ack != seen.ack
        {
            return differs("ack", seen.ack.to_string(), ack.to_string());
        }
        if let Some(window) = step.window
            && window != seen.window
        {
            return differs("window", seen.window.to_string(), window.to_string());
        }
        if let Some(sack) = &step.sack
            && *sack != seen.sack
        {
            return differs("SACK", format!("{:?}", seen.sack), format!("{sack:?}"));
        }
        if step.timestamps.is_some() && step.timestamps != seen.timestamps {
            return differs("timestamps", format!("{:?}", seen.timestamps), format!("{:?}", step.timestamps));
        }
        if seen.urgent != step.urgent.unwrap_or(0) {
            return differs("urgent pointer", seen.urgent.to_string(), step.urgent.unwrap_or(0).to_string());
        }
        Ok(())
    }

    /// One of the bare acknowledgements that came is as the step says; those up to it are done with.
    fn acknowledged(&mut self, end: End, step: &Step) -> Result<(), String> {
        let bare: Vec<Seen> = self.wire.unseen(end).iter().filter(|s| s.is_bare()).cloned().collect();
        let fits =
            |seen: &Seen| step.at.is_none_or(|at| at == seen.at) && self.compare_fields(seen, step).is_ok();
        let Some(found) = bare.iter().position(fits) else {
            let all: Vec<String> = bare.iter().map(shown).collect();
            return Err(format!("no such acknowledgement to the {end:?} among {all:?}"));
        };
        let mut done = found + 1;
        self.wire.unseen(end).retain(|seen| {
            let drop = seen.is_bare() && done > 0;
            done -= usize::from(drop);
            !drop
        });
        Ok(())
    }

    /// The next frame that is more than an acknowledgement.
    fn pop(&mut self, end: End) -> Result<Seen, String> {
        let unseen = self.wire.unseen(end);
        match unseen.iter().position(|seen| !seen.is_bare()) {
            Some(at) => Ok(unseen.remove(at)),
            None => Err(format!("the {end:?} sees nothing")),
        }
    }

    /// The next `len` bytes of the stream, over as many frames as they come in and in any order; with the flags of all.
    fn gather(&mut self, end: End, len: usize, reset: bool) -> Result<(Vec<u8>, Seen), String> {
        if reset {
            let seen = self.pop(end)?;
            return Ok((seen.payload.clone(), seen));
        }
        let start = self.next[end.index()];
        let mut bytes = vec![None; len];
        let mut all: Option<Seen> = None;
        while bytes.contains(&None) {
            let only = || bytes.iter().map_while(|b| *b).collect::<Vec<u8>>();
            let seen = self.pop(end).map_err(|_| format!("the {end:?} sees only {}", text(&only())))?;
            for (at, byte) in (seen.at - start..).zip(&seen.payload) {
                let slot = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at));
                match slot {
                    Some(slot) if slot.is_none_or(|old| old == *byte) => *slot = Some(*byte),
                    _ => return Err(format!("what was not asked for: {}", shown(&seen))),
                }
            }
            let flags = seen.flags | all.as_ref().map_or(0, |all| all.flags);
            all = Some(Seen { flags, at: start, ..seen });
        }
        all.map(|all| (bytes.into_iter().flatten().collect(), all)).ok_or_else(|| "no bytes".into())
    }

    /// A refusal of ours, with or without a body, and the end of the stream where the step says so.
    fn refused(&mut self, status: u16, step: &Step) -> Result<(), String> {
        let start = step.at.unwrap_or(self.next[End::Client.index()]);
        let mut bytes = Vec::new();
        let mut flags = 0;
        loop {
            if let Some(len) = refusal_len(&bytes, status)? {
                if len != bytes.len() {
                    return Err(format!("more than a refusal: {}", text(&bytes)));
                }
                break;
            }
            let seen = self.pop(End::Client).map_err(|what| format!("{what} behind {}", text(&bytes)))?;
            if seen.at != start + bytes.len() as i64 {
                return Err(format!("not at {start}: {}", shown(&seen)));
            }
            bytes.extend(&seen.payload);
            flags |= seen.flags;
        }
        let fin = step.flags() & TcpFlags::FIN;
        if fin != 0 && flags & TcpFlags::FIN == 0 {
            let seen = self.pop(End::Client)?;
            flags |= seen.flags;
        }
        if (flags & STATED) != fin {
            return Err(format!("flags {flags:#x} with a refusal"));
        }
        let behind = start + bytes.len() as i64 + i64::from(fin != 0);
        let next = &mut self.next[End::Client.index()];
        *next = (*next).max(behind);
        Ok(())
    }

    fn nothing_unseen(&mut self) -> Result<(), String> {
        for end in End::BOTH {
            let unseen = self.wire.unseen(end);
            if let Some(seen) = unseen.iter().find(|seen| !seen.is_bare()) {
                return Err(format!("the {end:?} sees {}", shown(seen)));
            }
            unseen.clear();
        }
        Ok(())
    }

    fn compare_drops(&self) -> Result<(), String> {
        if self.cut != Cut::Whole {
            return Ok(());
        }
        let counted: BTreeMap<String, u64> =
            drops(&self.wire.node).into_iter().map(|(reason, n)| (format!("{reason:?}"), n)).collect();
        if counted == self.case.drops {
            return Ok(());
        }
        Err(format!("drops {counted:?} and not {:?}", self.case.drops))
    }
}

/// Bytes of a refusal at the start of `bytes`, if it is all there.
fn refusal_len(bytes: &[u8], status: u16) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|e| format!("{e}: {}", text(bytes)))?;
    if head.code.is_some_and(|code| code != status) {
        return Err(format!("no {status}: {}", text(bytes)));
    }
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let body: &[u8] = if status == 403 { b"Access denied\r\n" } else { b"Bad request\r\n" };
    let rest = &bytes[len..];
    if rest.len() < body.len() {
        return Ok(None);
    }
    if rest.starts_with(body) { Ok(Some(len + body.len())) } else { Err(format!("body {}", text(rest))) }
}

fn shown(seen: &Seen) -> String {
    let flags = [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, 'A'), (32, 'U')];
    let flags: String = flags.iter().filter(|(bit, _)| seen.flags & bit != 0).map(|(_, c)| *c).collect();
    format!(
        "{flags} at {}+{} ack {} win {} sack {:?} ts {:?} urg {} {}",
        seen.at,
        seen.payload.len(),
        seen.ack,
        seen.window,
        seen.sack,
        seen.timestamps,
        seen.urgent,
        text(&seen.payload)
    )
}

fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
}
