//! A decoder that knows blocks again.
//!
//! Whoever calls a method again and again sends the same block each time, once the table has what it needs; servers
//! answer with the same head and the same trailers. What a block says depends on its octets and on the table, so a
//! block that leaves the table alone says the same until somebody else changes it, and is not decoded twice.
//!
//! Not kept: long ones, and those with a field that never enters a table (RFC 7541 §7.1.3). Whoever can mix fields of
//! his own into a connection could find out by time whether he has guessed such a field.

use super::{Decoder, Fields, HpackError, Limits};

/// Lists that are kept: a server's head and trailers, or the methods that a client calls in turn.
const KEPT: usize = 4;

/// Octets of a block, and of a list, that is kept.
const MAX_BLOCK: usize = 256;
const MAX_LIST: usize = 1_024;

/// Reads the header blocks of one direction. `T` is what the reader of a list notes down about it, for when the same
/// list comes again; nothing (its default) is noted on a list that is new.
#[derive(Debug)]
pub struct Reader<T> {
    decoder: Decoder,
    limits: Limits,
    kept: [Kept<T>; KEPT],
    /// Which of them goes next.
    next: usize,
    /// Where the list read last stands; otherwise it is `fields`.
    last: Option<usize>,
    fields: Fields,
}

/// A list that was read before.
#[derive(Debug, Default)]
struct Kept<T> {
    /// [`Decoder::changes`] when it was read; `None`: nothing is kept here.
    changes: Option<u64>,
    block: Vec<u8>,
    fields: Fields,
    note: T,
}

impl<T: Copy + Default> Reader<T> {
    /// Reads lists up to `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            decoder: Decoder::default(),
            limits,
            kept: core::array::from_fn(|_| Kept::default()),
            next: 0,
            last: None,
            fields: Fields::default(),
        }
    }

    /// The decoder, for what is said about its table elsewhere.
    #[must_use]
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// Reads a whole block; [`fields`](Self::fields) is its list.
    ///
    /// # Errors
    ///
    /// See [`HpackError`]. The reader is of no use afterwards.
    pub fn read(&mut self, block: &[u8]) -> Result<(), HpackError> {
        let changes = Some(self.decoder.changes());
        self.last = self.kept.iter().position(|kept| kept.changes == changes && kept.block == block);
        if self.last.is_some() {
            return Ok(());
        }
        self.decoder.decode(block, &mut self.fields, &self.limits)?;
        if changes == Some(self.decoder.changes()) && block.len() <= MAX_BLOCK && may_be_kept(&self.fields) {
            self.keep(changes, block);
        }
        Ok(())
    }

    /// The list read last.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        self.last_kept().map_or(&self.fields, |kept| &kept.fields)
    }

    /// What was noted on the list read last when it came before.
    #[must_use]
    pub fn note(&self) -> T {
        self.last_kept().map_or_else(T::default, |kept| kept.note)
    }

    /// Notes `note` on the list read last. Forgotten at once if the list is not kept.
    pub fn set_note(&mut self, note: T) {
        if let Some(kept) = self.last.and_then(|at| self.kept.get_mut(at)) {
            kept.note = note;
        }
    }

    fn last_kept(&self) -> Option<&Kept<T>> {
        self.kept.get(self.last?)
    }

    /// Keeps the list just decoded in the place of the one that was kept first.
    fn keep(&mut self, changes: Option<u64>, block: &[u8]) {
        let at = self.next % KEPT;
        let kept = &mut self.kept[at];
        kept.changes = changes;
        kept.block.clear();
        kept.block.extend_from_slice(block);
        kept.note = T::default();
        core::mem::swap(&mut kept.fields, &mut self.fields);
        kept.fields.shrink_to(MAX_LIST);
        self.next = at + 1;
        self.last = Some(at);
    }
}

fn may_be_kept(fields: &Fields) -> bool {
    fields.octets_len() <= MAX_LIST && fields.list().iter().all(|field| !field.never_indexed)
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_TABLE, literal, size_update};
    use super::*;

    const LIMITS: Limits = Limits { list: 64 * 1024, fields: 100 };

    fn reader() -> Reader<u8> {
        Reader::new(LIMITS)
    }

    /// `name: value`, put into the table.
    fn indexed(name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut block = vec![0x40];
        for octets in [name, value] {
            block.push(octets.len() as u8);
            block.extend_from_slice(octets);
        }
        block
    }

    fn value(reader: &Reader<u8>) -> &[u8] {
        reader.fields().iter().next().expect("a field").1
    }

    #[test]
    fn the_same_octets_are_known_again_until_the_table_changes() {
        let mut reader = reader();
        reader.read(&indexed(b"a", b"1")).expect("well-formed");
        // The newest entry of the table.
        let block = [0xbe];
        reader.read(&block).expect("well-formed");
        assert_eq!((value(&reader), reader.note()), (&b"1"[..], 0));
        reader.set_note(7);
        reader.read(&block).expect("well-formed");
        assert_eq!((value(&reader), reader.note()), (&b"1"[..], 7));
        reader.read(&indexed(b"a", b"2")).expect("well-formed");
        reader.read(&block).expect("well-formed");
        assert_eq!((value(&reader), reader.note()), (&b"2"[..], 0), "it says something else now");
    }

    #[test]
    fn a_block_that_changes_the_table_does_so_each_time() {
        let mut reader = reader();
        for entries in 1..=3 {
            reader.read(&indexed(b"a", b"1")).expect("well-formed");
            assert_eq!(reader.decoder().extent().0, entries);
        }
        // An update of the size that empties it, and the same again once there is something to be emptied.
        for _ in 0..2 {
            let mut block = Vec::new();
            size_update(0, &mut block);
            size_update(4_096, &mut block);
            block.push(0x82);
            reader.read(&block).expect("well-formed");
            assert_eq!(reader.decoder().extent().0, 0);
            reader.read(&indexed(b"a", b"1")).expect("well-formed");
        }
    }

    #[test]
    fn a_block_that_lacks_an_update_which_is_owed_is_refused_though_it_is_known() {
        let mut reader = reader();
        for _ in 0..2 {
            reader.read(&[0x82]).expect("well-formed");
        }
        reader.decoder().acknowledged(100, MAX_TABLE);
        assert_eq!(reader.read(&[0x82]), Err(HpackError::SizeUpdate));
    }

    #[test]
    fn what_is_secret_or_long_is_not_kept() {
        let mut secret = indexed(b"authorization", b"x");
        secret[0] = 0x10;
        let mut long = Vec::new();
        literal(b"a", &[b'~'; MAX_BLOCK], &mut long);
        for block in [secret, long] {
            let mut reader = reader();
            for _ in 0..2 {
                reader.read(&block).expect("well-formed");
                assert_eq!((reader.note(), reader.last), (0, None));
                reader.set_note(7);
            }
        }
    }

    #[test]
    fn as_many_are_kept_as_are_said_to_be() {
        let mut reader = reader();
        let blocks: Vec<[u8; 1]> = (0..=KEPT as u8).map(|number| [0x82 + number]).collect();
        for turn in 0..2 {
            for (number, block) in blocks[..KEPT].iter().enumerate() {
                reader.read(block).expect("well-formed");
                assert_eq!(reader.note(), if turn == 0 { 0 } else { number as u8 + 1 });
                reader.set_note(number as u8 + 1);
            }
        }
        reader.read(&blocks[KEPT]).expect("well-formed");
        reader.read(&blocks[0]).expect("well-formed");
        assert_eq!(reader.note(), 0, "the one kept first has gone");
    }
}
