use super::table::Table;
use super::{Decoder, Encoder, Fields, HpackError, Limits, huffman, literal, size_update};

const LIMITS: Limits = Limits { list: 64 * 1024, fields: 100 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("ascii"), 16).expect("hex"))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut fields = Fields::default();
    decoder.decode(block, &mut fields, &LIMITS)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    Ok(fields.iter().map(|(name, value)| (text(name), text(value))).collect())
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// RFC 7541 C.3 and C.4: three requests on one connection, plain and Huffman-coded.
#[test]
fn requests_of_the_appendix() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        let base =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(decode(&mut decoder, &hex(blocks[0])), Ok(pairs(&base)));
        let mut second = base.to_vec();
        second.push(("cache-control", "no-cache"));
        assert_eq!(decode(&mut decoder, &hex(blocks[1])), Ok(pairs(&second)));
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decode(&mut decoder, &hex(blocks[2])), Ok(pairs(&third)));
        assert_eq!(decoder.extent(), (3, 164));
    }
}

/// RFC 7541 C.6: responses with a table of 256 octets, so that entries are evicted.
#[test]
fn responses_of_the_appendix_with_eviction() {
    let mut decoder = Decoder::default();
    decoder.acknowledged(256, 0);
    assert_eq!(decoder.owed(), Some(256));
    let mut first = Vec::new();
    size_update(256, &mut first);
    first.extend(hex("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3"));
    let base = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    assert_eq!(decode(&mut decoder, &first), Ok(pairs(&base)));
    assert_eq!(decoder.extent(), (4, 222));
    let mut second = base;
    second[0].1 = "307";
    assert_eq!(decode(&mut decoder, &hex("4883640effc1c0bf")), Ok(pairs(&second)));
    assert_eq!(decoder.extent(), (4, 222));
    let third = "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007";
    let third = decode(&mut decoder, &hex(third)).expect("valid");
    assert_eq!(
        third[5],
        ("set-cookie".to_owned(), "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1".to_owned())
    );
    assert_eq!(decoder.extent(), (3, 215));
}

#[test]
fn every_octet_survives_huffman() {
    for octet in 0..=255u8 {
        for len in 1..10 {
            let text = vec![octet; len];
            let mut coded = Vec::new();
            huffman::encode(&text, &mut coded);
            assert_eq!(coded.len(), huffman::encoded_len(&text));
            let mut back = Vec::new();
            assert_eq!(huffman::decode(&coded, &mut back), Ok(()), "{octet} x {len}");
            assert_eq!(back, text);
        }
    }
}

/// RFC 7541 §5.2.
#[test]
fn huffman_padding_and_eos() {
    let decoded = |octets: &[u8]| {
        let mut out = Vec::new();
        huffman::decode(octets, &mut out).map(|()| out)
    };
    assert_eq!(decoded(&[]), Ok(vec![]));
    // '0' is 00000.
    assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
    assert_eq!(decoded(&[0b0000_0110]), Err(HpackError::Huffman), "padding other than ones");
    assert_eq!(decoded(&[0b0000_0000]), Err(HpackError::Huffman), "padding of zeros");
    assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(HpackError::Huffman), "padding longer than seven bits");
    assert_eq!(decoded(&[0xff]), Err(HpackError::Huffman), "eight bits of padding");
    assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(HpackError::Huffman), "EOS");
    assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(HpackError::Huffman), "EOS, then zeros");
}

#[test]
fn hostile_blocks() {
    let cases: &[(&str, &[u8], HpackError)] = &[
        ("index zero", &[0x80], HpackError::Index),
        ("index behind an empty table", &[0xbe], HpackError::Index),
        ("name index behind an empty table", &[0x7e, 0x00], HpackError::Index),
        ("index without an end", &[0xff], HpackError::Truncated),
        ("number of five octets", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], HpackError::Integer),
        ("number without an end", &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80], HpackError::Integer),
        ("literal without a name", &[0x40], HpackError::Truncated),
        ("name cut short", &[0x40, 0x05, b'a'], HpackError::Truncated),
        ("value cut short", &[0x40, 0x01, b'a', 0x02, b'b'], HpackError::Truncated),
        ("no value", &[0x40, 0x01, b'a'], HpackError::Truncated),
        ("size update beyond the limit", &[0x3f, 0xe2, 0x1f], HpackError::SizeUpdate),
        ("size update behind a field", &[0x82, 0x20], HpackError::SizeUpdate),
        ("EOS in a name", &[0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00], HpackError::Huffman),
    ];
    for (what, block, error) in cases {
        assert_eq!(decode(&mut Decoder::default(), block), Err(*error), "{what}");
    }
    assert_eq!(decode(&mut Decoder::default(), &[0x3f, 0xe1, 0x1f]), Ok(vec![]), "size update to the limit");
}

/// RFC 7541 §4.2: the smallest limit since the last block must be signalled, if it is below the table's size.
#[test]
fn a_fallen_limit_is_owed_an_update() {
    let mut decoder = Decoder::default();
    decoder.acknowledged(100, 0);
    decoder.acknowledged(8_192, 0);
    assert_eq!(decoder.owed(), Some(100));
    assert_eq!(decode(&mut decoder, &[0x82]), Err(HpackError::SizeUpdate), "no update");

    let block = |sizes: &[u32]| {
        let mut block = Vec::new();
        sizes.iter().for_each(|&size| size_update(size, &mut block));
        block.push(0x82);
        block
    };
    for (sizes, right) in [(&[100, 8_192][..], true), (&[8_192], false), (&[0], true), (&[101], false)] {
        let mut decoder = Decoder::default();
        decoder.acknowledged(100, 0);
        decoder.acknowledged(8_192, 0);
        assert_eq!(decode(&mut decoder, &block(sizes)).is_ok(), right, "{sizes:?}");
    }
    // A limit above the table's size owes nothing, and one that is only announced may be used already.
    let mut decoder = Decoder::default();
    decoder.announced(6_000);
    assert_eq!(decoder.owed(), None);
    assert!(decode(&mut decoder, &block(&[6_000])).is_ok());
    // Nobody goes beyond what we follow.
    decoder.announced(1 << 30);
    assert_eq!(decode(&mut decoder, &block(&[65_537])), Err(HpackError::SizeUpdate));
}

#[test]
fn lists_are_bounded() {
    let mut decoder = Decoder::default();
    // One large entry, then many references to it: 2 octets of block for 4 KiB of list.
    let mut block = vec![0x40, 0x01, b'a', 0x7f, 0xe1, 0x1d];
    block.extend([b'x'; 3_936]);
    let mut fields = Fields::default();
    decoder.decode(&block, &mut fields, &LIMITS).expect("fits");
    assert_eq!(decode(&mut decoder, &[0xbe; 17]), Err(HpackError::TooLarge));
    assert_eq!(decode(&mut Decoder::default(), &[0x82; 101]), Err(HpackError::TooLarge));
    assert_eq!(decode(&mut Decoder::default(), &[0x82; 100]).map(|list| list.len()), Ok(100));
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut table = Table::new(100);
    table.insert(b"a", b"b");
    table.insert(b"c", b"d");
    assert_eq!(table.extent(), (2, 68));
    assert_eq!(table.get(0), Some((&b"cd"[..], 1)));
    assert_eq!(table.get(1), Some((&b"ab"[..], 1)));
    assert_eq!(table.get(2), None);
    table.insert(b"x", &[b'x'; 68]);
    assert_eq!(table.extent(), (0, 0));
    table.insert(b"x", &[b'x'; 67]);
    assert_eq!(table.extent(), (1, 100));
}

/// What is evicted while its name is referred to (RFC 7541 §4.4) is copied first.
#[test]
fn a_name_may_be_of_the_entry_that_it_evicts() {
    let mut decoder = Decoder::default();
    let mut block = Vec::new();
    size_update(64, &mut block);
    block.extend(b"\x40\x04name\x05value");
    block.extend(b"\x7e\x06longer");
    assert_eq!(decode(&mut decoder, &block), Ok(pairs(&[("name", "value"), ("name", "longer")])));
    assert_eq!(decoder.extent(), (1, 42));
}

#[test]
fn never_indexed_stays_never_indexed() {
    let mut fields = Fields::default();
    let mut decoder = Decoder::default();
    decoder
        .decode(b"\x10\x08password\x06secret\x1f\x08\x02Bx\x12\x03GET", &mut fields, &LIMITS)
        .expect("valid");
    let mut encoder = Encoder::new(4_096);
    let mut block = Vec::new();
    encoder.encode(&fields, &mut block);
    let mut again = Fields::default();
    Decoder::default().decode(&block, &mut again, &LIMITS).expect("valid");
    assert_eq!(fields.iter().collect::<Vec<_>>(), again.iter().collect::<Vec<_>>());
    assert!(again.list().iter().all(|field| field.never_indexed));
}

#[test]
fn the_encoder_starts_from_an_empty_table_and_follows_limits() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, b"\x40\x03old\x05entry").expect("valid");
    let mut fields = Fields::default();
    fields.push(b"x-name", b"value", false, &LIMITS).expect("fits");
    let mut encoder = Encoder::new(4_096);
    let say = |encoder: &mut Encoder, decoder: &mut Decoder| {
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert_eq!(decode(decoder, &block), Ok(pairs(&[("x-name", "value")])));
        block.len()
    };
    say(&mut encoder, &mut decoder);
    assert_eq!(decoder.extent(), (1, 43));
    assert_eq!(say(&mut encoder, &mut decoder), 1, "an index");
    for limit in [0, 50, 4_096, 10_000] {
        decoder.acknowledged(limit, 0);
        encoder.limit(limit);
        say(&mut encoder, &mut decoder);
        assert_eq!(decoder.owed(), None);
    }
}

#[test]
fn literals_touch_no_table() {
    let mut block = Vec::new();
    literal(b":status", b"200", &mut block);
    literal(b"content-type", b"application/grpc", &mut block);
    literal(b"grpc-status", b"7", &mut block);
    let mut decoder = Decoder::default();
    let list = decode(&mut decoder, &block).expect("valid");
    assert_eq!(
        list,
        pairs(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7")])
    );
    assert_eq!(decoder.extent(), (0, 0));
}
