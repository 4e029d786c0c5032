//! Names on the wire (RFC 1035 §3.1, §4.1.4) and their text.

use super::message::HEADER_LEN;

/// Compression pointers that one name may follow. Writers of messages make chains of a few: each pointer leads to a
/// name that was itself written before.
pub const MAX_POINTERS: usize = 32;

/// Bytes of a name on the wire with its lengths and the root (RFC 1035 §2.3.4). A text takes no more: a name whose
/// escapes need more room is malformed here.
const MAX_NAME: usize = 255;

/// What a label's byte becomes: itself in lower case, or one of the two below.
const FOLD: [u8; 256] = {
    let mut table = [ESCAPED; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' {
            table[byte] = b.to_ascii_lowercase();
        } else if b == b'.' {
            table[byte] = REFUSED;
        }
        byte += 1;
    }
    table
};
const ESCAPED: u8 = 0;
const REFUSED: u8 = 1;

/// The text of a name: lower-case, dotted, without the final dot, escaped as the module above says.
#[derive(Clone)]
pub(crate) struct Text {
    bytes: [u8; MAX_NAME],
    len: usize,
}

impl Text {
    /// The root.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MAX_NAME], len: 0 }
    }

    /// Reads the name at `at`; answers where it ends. `None`: it is malformed.
    pub(crate) fn read(&mut self, message: &[u8], at: usize) -> Option<usize> {
        self.len = 0;
        let mut walk = Walk::new(at);
        let mut wire = 1;
        while let Some(label) = walk.label(message)? {
            wire += 1 + label.len();
            if wire > MAX_NAME {
                return None;
            }
            self.push(label)?;
        }
        Some(walk.end)
    }

    /// Itself.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its bytes, all of them ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        if self.len > 0 {
            *self.bytes.get_mut(self.len)? = b'.';
            self.len += 1;
        }
        let room = self.bytes.get_mut(self.len..self.len + label.len())?;
        let mut least = u8::MAX;
        for (to, byte) in room.iter_mut().zip(label) {
            *to = FOLD[usize::from(*byte)];
            least = least.min(*to);
        }
        if least > REFUSED {
            self.len += label.len();
            return Some(());
        }
        for byte in label {
            match FOLD[usize::from(*byte)] {
                REFUSED => return None,
                ESCAPED => {
                    self.append(&[b'\\', b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10])?
                }
                folded => self.append(&[folded])?,
            }
        }
        Some(())
    }

    fn append(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..self.len + text.len())?.copy_from_slice(text);
        self.len += text.len();
        Some(())
    }
}

/// Where the name at `at` ends. What its pointer leads to is not looked at. `None`: malformed.
pub(crate) fn skip(message: &[u8], at: usize) -> Option<usize> {
    let start = at;
    let mut at = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            high @ 192.. => {
                let target = pointer(high, *message.get(at + 1)?);
                return (HEADER_LEN..start).contains(&target).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start >= MAX_NAME {
            return None;
        }
    }
}

/// The place of the first label of the name at `at`: names that start at one place are equal.
pub(crate) fn origin(message: &[u8], at: usize) -> Option<usize> {
    let mut walk = Walk::new(at);
    walk.label(message)?;
    Some(walk.label_at)
}

const fn pointer(high: u8, low: u8) -> usize {
    ((high & 0x3f) as usize) << 8 | low as usize
}

/// Goes over the labels of a name.
struct Walk {
    at: usize,
    /// Where the last label stood.
    label_at: usize,
    /// Pointers must lead to before here.
    limit: usize,
    /// Behind the name's bytes in place, once known.
    end: usize,
    pointers: usize,
}

impl Walk {
    const fn new(at: usize) -> Self {
        Self { at, label_at: at, limit: at, end: 0, pointers: 0 }
    }

    /// The next label; `Some(None)` at the root.
    fn label<'a>(&mut self, message: &'a [u8]) -> Option<Option<&'a [u8]>> {
        loop {
            match *message.get(self.at)? {
                0 => {
                    self.label_at = self.at;
                    if self.pointers == 0 {
                        self.end = self.at + 1;
                    }
                    return Some(None);
                }
                len @ 1..=63 => {
                    self.label_at = self.at;
                    self.at += 1 + usize::from(len);
                    return message.get(self.label_at + 1..self.at).map(Some);
                }
                high @ 192.. => {
                    let target = pointer(high, *message.get(self.at + 1)?);
                    if self.pointers == MAX_POINTERS || !(HEADER_LEN..self.limit).contains(&target) {
                        return None;
                    }
                    if self.pointers == 0 {
                        self.end = self.at + 2;
                    }
                    self.pointers += 1;
                    self.limit = target;
                    self.at = target;
                }
                _ => return None,
            }
        }
    }
}
