//! The body of a ClientHello (RFC 8446 §4.1.2; RFC 5246 §7.4.1.2 has the same shape).

use super::TlsHello;

/// Most bytes of a hello. Those with several post-quantum key shares have some 3 KiB.
pub const MAX_HELLO: usize = 16 * 1024;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ENCRYPTED_HELLO: u16 = 0xfe0d;
const NAME_TYPE_HOST: u8 = 0;
/// RFC 1035 §2.3.4, as text.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// What a label's byte becomes; 0 for what may not stand in a name.
const FOLD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.' {
            table[byte] = b.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Reads the body of a ClientHello and shows what it says to `tell`. `None`: it is malformed.
pub fn client_hello<T>(body: &[u8], tell: impl FnOnce(&TlsHello<'_>) -> T) -> Option<T> {
    let mut rest = Reader(body);
    rest.take(2 + 32)?;
    if rest.vector8()?.0.len() > 32 {
        return None;
    }
    let ciphers = rest.vector16()?.0.len();
    if ciphers == 0 || ciphers % 2 != 0 || rest.vector8()?.0.is_empty() {
        return None;
    }
    let mut name = None;
    let mut encrypted = false;
    if !rest.0.is_empty() {
        let mut extensions = rest.vector16()?;
        while !extensions.0.is_empty() {
            let kind = extensions.be16()?;
            let data = extensions.vector16()?;
            match kind {
                EXTENSION_SERVER_NAME if name.is_none() => name = Some(host_name(data)?),
                EXTENSION_ENCRYPTED_HELLO if !encrypted => encrypted = true,
                EXTENSION_SERVER_NAME | EXTENSION_ENCRYPTED_HELLO => return None,
                _ => {}
            }
        }
        if !rest.0.is_empty() {
            return None;
        }
    }
    let mut folded = [0; MAX_NAME];
    let server_name = match name {
        Some(name) => Some(fold(name, &mut folded)?),
        None => None,
    };
    Some(tell(&TlsHello { server_name, encrypted }))
}

/// The one name in a server name extension (RFC 6066 §3).
fn host_name(mut data: Reader<'_>) -> Option<&[u8]> {
    let mut list = data.vector16()?;
    if list.byte()? != NAME_TYPE_HOST {
        return None;
    }
    let name = list.vector16()?;
    (list.0.is_empty() && data.0.is_empty()).then_some(name.0)
}

/// Lower case, if it is a name.
fn fold<'a>(name: &[u8], folded: &'a mut [u8; MAX_NAME]) -> Option<&'a str> {
    let folded = folded.get_mut(..name.len())?;
    let mut label = 0;
    for (to, byte) in folded.iter_mut().zip(name) {
        *to = FOLD[usize::from(*byte)];
        label = match *to {
            0 => return None,
            b'.' if label == 0 => return None,
            b'.' => 0,
            _ => label + 1,
        };
        if label > MAX_LABEL {
            return None;
        }
    }
    // No label behind the last dot, or none at all.
    if label == 0 {
        return None;
    }
    core::str::from_utf8(folded).ok()
}

/// Bytes not read yet.
#[derive(Copy, Clone)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn be16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|two| u16::from_be_bytes(*two))
    }

    /// What stands behind its length in one byte.
    fn vector8(&mut self) -> Option<Self> {
        let len = usize::from(self.byte()?);
        self.take(len).map(Self)
    }

    /// What stands behind its length in two bytes.
    fn vector16(&mut self) -> Option<Self> {
        let len = usize::from(self.be16()?);
        self.take(len).map(Self)
    }
}
