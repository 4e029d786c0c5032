//! Rows as bytes: differences to the row before, texts once, compressed, with a checksum.

use super::row::{Row, Texts, Uuid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Rows in a block that is full.
pub(super) const ROWS: usize = 4096;

/// Largest block or chunk of shapes when unpacked: bounds what a damaged length can ask for.
const MAX_UNPACKED: usize = 256 << 20;

/// Why bytes are no block.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("damaged")]
pub(super) struct Damaged;

/// Rows and their texts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) texts: Vec<String>,
    rows: Vec<Row>,
}

/// What is known of a block without unpacking it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Run of the service that wrote it.
    pub(super) run: u64,
    /// Numbers in the flow log, first and last.
    pub(super) seqs: (u64, u64),
    /// Earliest and latest time; without one if all rows have none.
    pub(super) times: Option<(i128, i128)>,
    pub(super) rows: u32,
    /// Shapes in it, in order.
    pub(super) shapes: Vec<u32>,
}

impl Summary {
    pub(super) fn of(run: u64, rows: &[Row]) -> Self {
        let mut shapes: Vec<u32> = rows.iter().map(|row| row.shape).collect();
        shapes.sort_unstable();
        shapes.dedup();
        let times = || rows.iter().filter_map(|row| row.time);
        Self {
            run,
            seqs: (rows.first().map_or(0, |row| row.seq), rows.last().map_or(0, |row| row.seq)),
            times: times().min().zip(times().max()),
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            shapes,
        }
    }
}

/// Packs rows with those of the texts that they use.
pub(super) fn encode(rows: &[Row], texts: &Texts) -> Vec<u8> {
    let mut used = Texts::default();
    let mut map = vec![0_u32; texts.list().len() + 1];
    let mut block = Block { texts: Vec::new(), rows: Vec::with_capacity(rows.len()) };
    let mut before = Before::default();
    for row in rows {
        let mut row = row.clone();
        for id in row.texts_mut() {
            let Some(new) = map.get_mut(*id as usize) else { continue };
            if *new == 0 && *id != 0 {
                *new = used.id(texts.get(*id));
            }
            *id = *new;
        }
        before.subtract(&mut row);
        block.rows.push(row);
    }
    block.texts = used.list().iter().map(ToString::to_string).collect();
    pack(&block)
}

/// Unpacks rows.
pub(super) fn decode(bytes: &[u8]) -> Result<(Vec<Row>, Vec<String>), Damaged> {
    let Block { texts, mut rows } = unpack(bytes)?;
    let mut before = Before::default();
    rows.iter_mut().for_each(|row| before.add(row));
    Ok((rows, texts))
}

/// What the differences are to.
#[derive(Debug, Default)]
struct Before {
    seq: u64,
    time: i128,
    uuid: u128,
}

impl Before {
    fn subtract(&mut self, row: &mut Row) {
        let now = Self { seq: row.seq, time: row.time.unwrap_or(self.time), uuid: number(row, self.uuid) };
        row.seq = row.seq.wrapping_sub(self.seq);
        row.time = row.time.map(|time| time.wrapping_sub(self.time));
        if let Uuid::Number(uuid) = &mut row.uuid {
            *uuid = uuid.wrapping_sub(self.uuid);
        }
        *self = now;
    }

    fn add(&mut self, row: &mut Row) {
        row.seq = row.seq.wrapping_add(self.seq);
        row.time = row.time.map(|time| time.wrapping_add(self.time));
        if let Uuid::Number(uuid) = &mut row.uuid {
            *uuid = uuid.wrapping_add(self.uuid);
        }
        *self = Self { seq: row.seq, time: row.time.unwrap_or(self.time), uuid: number(row, self.uuid) };
    }
}

const fn number(row: &Row, otherwise: u128) -> u128 {
    match row.uuid {
        Uuid::Number(uuid) => uuid,
        Uuid::Text(_) => otherwise,
    }
}

/// Checksum (4 bytes), length when unpacked (4 bytes), content.
pub(super) fn pack(value: &impl Serialize) -> Vec<u8> {
    // Memory does not fail, and every type here has a form in this format.
    let plain = postcard::to_allocvec(value).unwrap_or_default();
    let packed = lz4_flex::block::compress(&plain);
    let length = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&length), &packed).to_le_bytes();
    [&sum[..], &length, &packed].concat()
}

/// The opposite.
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    let (sum, rest) = bytes.split_first_chunk::<4>().ok_or(Damaged)?;
    if crc32c::crc32c(rest).to_le_bytes() != *sum {
        return Err(Damaged);
    }
    let (length, packed) = rest.split_first_chunk::<4>().ok_or(Damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_UNPACKED {
        return Err(Damaged);
    }
    let plain = lz4_flex::block::decompress(packed, length).map_err(|_| Damaged)?;
    postcard::from_bytes(&plain).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::row::{join, split};
    use crate::history::testing;

    #[test]
    fn blocks_come_back_and_damage_is_noticed() {
        let mut texts = Texts::default();
        let records: Vec<_> = (0..300).map(testing::record).collect();
        let split_one = |(n, record): (usize, &flowlog::Record)| {
            let mut shape = record.clone();
            let row = split(&mut shape, n as u64 * 3, &mut texts);
            (shape, Row { shape: n as u32, ..row })
        };
        let (shapes, rows): (Vec<_>, Vec<_>) = records.iter().enumerate().map(split_one).unzip();
        for range in [0..300, 100..200, 299..300, 0..0] {
            let bytes = encode(&rows[range.clone()], &texts);
            let (back, words) = decode(&bytes).expect("whole");
            let joined = back.iter().map(|row| join(&shapes[row.shape as usize], row, &words));
            assert!(joined.eq(records[range.clone()].iter().cloned()));
            assert!(back.iter().map(|row| row.seq).eq(range.clone().map(|n| n as u64 * 3)));
            for at in (0..bytes.len()).step_by(bytes.len().div_ceil(50)) {
                let mut wrong = bytes.clone();
                wrong[at] ^= 0x10;
                assert!(decode(&wrong).is_err(), "byte {at}");
                assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
        let summary = Summary::of(7, &rows);
        assert_eq!((summary.seqs, summary.rows, summary.shapes.len()), ((0, 897), 300, 300));
        let times = records.iter().filter_map(|r| r.time).map(|t| t.0.as_nanosecond());
        assert_eq!(summary.times, times.clone().min().zip(times.max()));
    }
}
