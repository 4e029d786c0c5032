//! Our HPACK against a kept one (`httlib-hpack`): header lists made up by chance, with tables of many sizes that change
//! on the way, encoded by one and decoded by the other. Both directions, and ours against itself.

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use l7::http2::hpack::{Decoder, Encoder, Fields, Limits};

const LIMITS: Limits = Limits { list: 1 << 20, fields: 1_000 };

/// Names of the static table with and without values, and others.
const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":status",
    "cookie",
    "content-type",
    "user-agent",
    "x-a",
    "x-trace-id",
    "grpc-timeout",
    "via",
];

type Field = (Vec<u8>, Vec<u8>);

/// A list of fields: names and values that come back, and some that never do.
fn list(u: &mut Unstructured<'_>) -> Result<Vec<Field>> {
    let mut list = Vec::new();
    for _ in 0..u.int_in_range(0..=12)? {
        let name = match u.int_in_range(0..=5)? {
            0 => format!("x-{}", u.int_in_range(0..=200)?).into_bytes(),
            _ => u.choose(NAMES)?.as_bytes().to_vec(),
        };
        let value = match u.int_in_range(0..=5)? {
            0 => b"GET".to_vec(),
            1 => vec![],
            2 => vec![u.arbitrary()?; u.int_in_range(0..=300)?],
            3 => u.arbitrary::<[u8; 16]>()?.to_vec(),
            _ => format!("value {}", u.int_in_range(0..=30)?).into_bytes(),
        };
        list.push((name, value));
    }
    Ok(list)
}

fn ours(decoder: &mut Decoder, block: &[u8]) -> Vec<Field> {
    let mut fields = Fields::default();
    decoder.decode(block, &mut fields, &LIMITS).expect("a valid block");
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn theirs(decoder: &mut httlib_hpack::Decoder<'_>, block: &[u8]) -> Vec<Field> {
    let mut list = Vec::new();
    decoder.decode(&mut block.to_vec(), &mut list).expect("a valid block");
    list.into_iter().map(|(name, value, _)| (name, value)).collect()
}

/// A size for the table: often small, so that entries are evicted.
fn size(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(*u.choose(&[0, 31, 40, 64, 100, 200, 300, 1_000, 4_096])?)
}

#[test]
fn what_they_encode_we_decode() {
    arbtest(|u| {
        let mut encoder = httlib_hpack::Encoder::with_dynamic_size(4_096);
        let mut decoder = Decoder::default();
        for _ in 0..u.int_in_range(1..=12)? {
            let mut block = Vec::new();
            if u.ratio(1, 4)? {
                encoder.update_max_dynamic_size(size(u)?, &mut block).expect("encoded");
            }
            let list = list(u)?;
            for (name, value) in &list {
                // Huffman for either, indexing, never indexing.
                let flags = u.int_in_range(0..=3)? | u.choose(&[4, 8, 16])?;
                encoder.encode((name.clone(), value.clone(), flags), &mut block).expect("encoded");
            }
            assert_eq!(ours(&mut decoder, &block), list);
        }
        Ok(())
    });
}

#[test]
fn what_we_encode_they_and_we_decode() {
    arbtest(|u| {
        let mut encoder = Encoder::new(size(u)?);
        let mut oracle = httlib_hpack::Decoder::with_dynamic_size(4_096);
        let mut decoder = Decoder::default();
        for _ in 0..u.int_in_range(1..=12)? {
            if u.ratio(1, 4)? {
                encoder.limit(size(u)?);
            }
            let list = list(u)?;
            let mut fields = Fields::default();
            for (name, value) in &list {
                fields.push(name, value, u.ratio(1, 8)?, &LIMITS).expect("fits");
            }
            let mut block = Vec::new();
            encoder.encode(&fields, &mut block);
            assert_eq!(theirs(&mut oracle, &block), list);
            assert_eq!(ours(&mut decoder, &block), list);
        }
        Ok(())
    });
}

/// Blocks broken by chance: what we still read the oracle reads too, and the same.
#[test]
fn broken_blocks_are_read_alike() {
    arbtest(|u| {
        let mut encoder = httlib_hpack::Encoder::with_dynamic_size(4_096);
        let mut oracle = httlib_hpack::Decoder::with_dynamic_size(4_096);
        let mut decoder = Decoder::default();
        for _ in 0..8 {
            let mut block = Vec::new();
            for (name, value) in list(u)? {
                encoder.encode((name, value, u.int_in_range(0..=31)?), &mut block).expect("encoded");
            }
            for _ in 0..u.int_in_range(0..=2)? {
                if let Some(at) = block.len().checked_sub(1) {
                    block[u.int_in_range(0..=at)?] = u.arbitrary()?;
                }
            }
            let mut fields = Fields::default();
            let mut list = Vec::new();
            // Whoever fails is of no more use. The oracle is not asked then: it takes size updates in the wrong place,
            // and panics on some blocks that are cut short.
            if decoder.decode(&block, &mut fields, &LIMITS).is_err() {
                break;
            }
            oracle.decode(&mut block.clone(), &mut list).expect("a block that we can read");
            let list: Vec<Field> = list.into_iter().map(|(name, value, _)| (name, value)).collect();
            let fields: Vec<Field> =
                fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            assert_eq!(fields, list);
        }
        Ok(())
    });
}
