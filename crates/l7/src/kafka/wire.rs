//! Primitive types of the Kafka protocol, read within the bounds of one frame and written.
//!
//! A reader knows two ends: that of the bytes at hand and that of the frame. To want more than is at hand is
//! [`Fault::Short`], to want more than the frame has is [`Fault::Bad`]. No length from the wire reserves memory.

/// Longest text, also in the compact form (brokers refuse longer ones).
pub(super) const MAX_TEXT: usize = 0x7fff;

/// Why something cannot be read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It reaches beyond what is at hand.
    Short,
    /// It is not what it must be.
    Bad,
}

/// A position within one frame.
#[derive(Copy, Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads from `at`; the frame ends at `end` of the same count, which may be beyond `bytes`.
    pub(super) const fn new(bytes: &'a [u8], at: usize, end: usize) -> Self {
        Self { bytes, at, end }
    }

    /// Where the next byte is read.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let to = self.at.checked_add(len).ok_or(Fault::Bad)?;
        if to > self.end {
            return Err(Fault::Bad);
        }
        let taken = self.bytes.get(self.at..to).ok_or(Fault::Short)?;
        self.at = to;
        Ok(taken)
    }

    /// Steps over bytes of the frame, at hand or not.
    pub(super) fn skip(&mut self, len: usize) -> Result<(), Fault> {
        let to = self.at.checked_add(len).filter(|to| *to <= self.end).ok_or(Fault::Bad)?;
        self.at = to;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::Bad)
    }

    pub(super) fn int8(&mut self) -> Result<i8, Fault> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(super) fn int16(&mut self) -> Result<i16, Fault> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn int32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn int64(&mut self) -> Result<i64, Fault> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn uuid(&mut self) -> Result<[u8; 16], Fault> {
        self.array()
    }

    /// An unsigned varint of at most 31 bits; what a broker would cut off or read as negative is refused.
    pub(super) fn varint(&mut self) -> Result<usize, Fault> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 7 {
                return Err(Fault::Bad);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value as usize);
            }
        }
        Err(Fault::Bad)
    }

    /// The length before a list or bytes; `None` is null.
    pub(super) fn count(&mut self, flexible: bool) -> Result<Option<usize>, Fault> {
        if flexible {
            return Ok(self.varint()?.checked_sub(1));
        }
        match self.int32()? {
            -1 => Ok(None),
            count => usize::try_from(count).map(Some).map_err(|_| Fault::Bad),
        }
    }

    /// A text; `None` is null.
    pub(super) fn text(&mut self, flexible: bool) -> Result<Option<&'a str>, Fault> {
        let len = if flexible {
            self.varint()?.checked_sub(1)
        } else {
            match self.int16()? {
                -1 => None,
                len => Some(usize::try_from(len).map_err(|_| Fault::Bad)?),
            }
        };
        match len {
            None => Ok(None),
            Some(len) if len > MAX_TEXT => Err(Fault::Bad),
            Some(len) => core::str::from_utf8(self.take(len)?).map(Some).map_err(|_| Fault::Bad),
        }
    }

    /// Steps over a section of tagged fields.
    pub(super) fn tags(&mut self) -> Result<(), Fault> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let len = self.varint()?;
            self.take(len)?;
        }
        Ok(())
    }
}

/// Appends primitive types to a frame.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    flexible: bool,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>, flexible: bool) -> Self {
        Self { out, flexible }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The low `width` bytes of a number.
    pub(super) fn number(&mut self, value: i64, width: u8) {
        let bytes = value.to_be_bytes();
        self.raw(&bytes[bytes.len().saturating_sub(usize::from(width))..]);
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// The length before a list or bytes; `None` is null.
    pub(super) fn count(&mut self, count: Option<usize>) {
        let count = count.map(|count| u32::try_from(count).unwrap_or(0));
        if self.flexible {
            self.varint(count.map_or(0, |count| count + 1));
        } else {
            self.number(count.map_or(-1, i64::from), 4);
        }
    }

    /// A text; `None` is null.
    pub(super) fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) if self.flexible => self.varint(u32::try_from(text.len()).unwrap_or(0) + 1),
            None if self.flexible => self.varint(0),
            Some(text) => self.number(i64::try_from(text.len()).unwrap_or(0), 2),
            None => self.number(-1, 2),
        }
        self.raw(text.unwrap_or_default().as_bytes());
    }

    /// An empty section of tagged fields, where the version has one.
    pub(super) fn tags(&mut self) {
        if self.flexible {
            self.out.push(0);
        }
    }
}
