use super::*;
use crate::io::pcap::{NgFrame, NgStatistics, NgWriter};

fn read(file: &[u8]) -> Result<Vec<Record>, IoError> {
    let mut reader = CaptureReader::new(file)?;
    let mut found = Vec::new();
    while let Some(record) = reader.next_record()? {
        found.push(record);
    }
    Ok(found)
}

fn error(file: &[u8]) -> String {
    read(file).expect_err("damaged").to_string()
}

/// A block of pcapng in one byte order.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = word(12 + u32::try_from(body.len()).expect("short"));
    [&word(kind)[..], &len, body, &len].concat()
}

/// A section with one interface of that resolution.
fn section(big: bool, resolution: u8, offset: u64) -> Vec<u8> {
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let long = |n: u64| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let head = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let mut link = [&half(1)[..], &half(0), &word(65_535)].concat();
    link.extend([&half(2)[..], &half(4), b"veth", &half(9), &half(1), &[resolution, 0, 0, 0]].concat());
    link.extend([&half(14)[..], &half(8), &long(offset), &half(0), &half(0)].concat());
    [block(big, block::SECTION, &head), block(big, block::INTERFACE, &link)].concat()
}

fn enhanced_block(big: bool, ticks: u64, bytes: &[u8], flags: Option<u32>) -> Vec<u8> {
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = u32::try_from(bytes.len()).expect("short");
    let mut body =
        [word(0), word((ticks >> 32) as u32), word(ticks as u32), word(len), word(len + 5)].concat();
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    if let Some(flags) = flags {
        // A comment that is no UTF-8 stands before it: nobody reads it, so nobody minds.
        body.extend([&half(1)[..], &half(3), &[0xff, 0xfe, 0xfd, 0]].concat());
        body.extend([&half(2)[..], &half(4), &word(flags), &half(0), &half(0)].concat());
    }
    block(big, block::ENHANCED_PACKET, &body)
}

#[test]
fn pcapng_is_read_in_both_byte_orders_and_every_resolution() {
    for big in [false, true] {
        for (resolution, ticks, offset, nanos) in [
            (6, 3_000_001, 0, 3_000_001_000),
            (9, 3_000_000_001, 0, 3_000_000_001),
            (0x80 | 10, 3 * 1024 + 512, 0, 3_500_000_000),
            (0, 3, 7, 10_000_000_000),
            (9, 12_000_000_000, 2_u64.wrapping_neg(), 10_000_000_000),
        ] {
            let frames = [(b"abcde", Some(2)), (b"fghij", Some(1)), (b"klmno", None)];
            let mut file = section(big, resolution, offset);
            file.extend(block(big, 0x4711, b"abcd"));
            file.extend(frames.iter().flat_map(|(bytes, flags)| enhanced_block(big, ticks, *bytes, *flags)));
            let expected = frames.map(|(bytes, flags)| Record {
                time: Instant::from_nanos(nanos),
                interface: 0,
                outbound: flags == Some(2),
                original_len: 10,
                bytes: bytes.to_vec(),
            });
            assert_eq!(read(&file).expect("whole"), expected, "{big} {resolution:#x} {offset}");
            assert!(expected[0].is_cut());
        }
    }
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    for (magic, scale) in [(0xa1b2_c3d4_u32, 1_000), (0xa1b2_3c4d, 1)] {
        for big in [false, true] {
            let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
            let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
            let head = [&word(magic)[..], &half(2), &half(4), &[0; 8], &word(100), &word(1)].concat();
            let file = [&head[..], &word(7), &word(9), &word(3), &word(60), b"abc"].concat();
            let time = Instant::from_nanos(7_000_000_000 + 9 * scale);
            let bytes = b"abc".to_vec();
            let expected = Record { time, interface: 0, outbound: false, original_len: 60, bytes };
            assert_eq!(read(&file).expect("whole"), [expected]);
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut writer = NgWriter::new(Vec::new(), "sluice", "a test").expect("memory");
    let names = [("veth1", "shop/web", "peer=1"), ("veth2", "shop/db", "")];
    for (name, description, comment) in names {
        writer.interface(name, description, comment, 100).expect("memory");
    }
    let long = "x".repeat(100_000);
    let frame = |interface, outbound, comment| NgFrame {
        interface,
        nanos: 1_763_719_200_000_000_001,
        original_len: 9,
        bytes: b"frame",
        outbound,
        lost_before: u64::from(outbound) * 3,
        comment,
    };
    writer.frame(&frame(0, false, "why")).expect("memory");
    writer.frame(&frame(1, true, &long)).expect("memory");
    assert!(writer.frame(&frame(2, false, "no such interface")).is_err());
    writer.statistics(1, &NgStatistics { from: 1, to: 2, seen: 3, lost: 4, accepted: 5 }).expect("memory");
    let file = std::mem::take(writer.get_mut());
    let found = read(&file).expect("whole");
    let time = Instant::from_nanos(1_763_719_200_000_000_001);
    let record =
        |interface, outbound| Record { time, interface, outbound, original_len: 9, bytes: b"frame".to_vec() };
    assert_eq!(found, [record(0, false), record(1, true)]);
    let mut reader = CaptureReader::new(&file[..]).expect("whole");
    reader.next_record().expect("whole");
    for (id, (name, description, comment)) in (0..).zip(names) {
        let known = reader.interface(id).expect("described");
        assert_eq!((&*known.name, &*known.description, &*known.comment), (name, description, comment));
        assert!(known.is_ethernet);
    }
    assert!(reader.interface(2).is_none());
}

#[test]
fn what_is_cut_off_or_wrong_is_said_with_the_number_of_the_record() {
    let good = [section(false, 9, 0), enhanced_block(false, 1, b"abcd", None)].concat();
    let whole = [&good[..], &enhanced_block(false, 1, b"abcd", None)].concat();
    for len in good.len() + 1..whole.len() {
        let error = error(&whole[..len]);
        assert!(error.starts_with("capture: record 2: the file ends within it"), "{len}: {error}");
    }
    let section_only = section(false, 9, 0).len();
    let mut no_interface = good.clone();
    no_interface[section_only + 8] = 1;
    assert_eq!(error(&no_interface), "capture: record 1: its interface is not described");
    let mut too_long = good.clone();
    too_long[section_only + 20] = 99;
    assert!(error(&too_long).contains("too short for what it says"), "{}", error(&too_long));
    assert!(error(&section(false, 0x7f, 0)).contains("resolution of time"));
    let early = [section(false, 9, 5_u64.wrapping_neg()), enhanced_block(false, 1, b"abcd", None)].concat();
    assert!(error(&early).contains("before 1970"));
    assert_eq!(error(b"ab"), "capture: the file is too short for a capture");
    assert_eq!(error(b"no capture at all, but long enough"), "capture: this is neither pcap nor pcapng");
    assert!(error(&[0x1f, 0x8b, 8, 0, 0]).contains("compressed"));
}

#[test]
fn descriptions_of_interfaces_do_not_fill_memory() {
    let mut file = section(false, 9, 0);
    let body = [&[1, 0, 0, 0, 0, 0, 1, 0, 3, 0][..], &[0xff, 0xff], &[b'x'; 65_535], &[0; 5]].concat();
    let one = block(false, block::INTERFACE, &body);
    for _ in 0..300 {
        file.extend(&one);
    }
    assert!(error(&file).contains("more interfaces"), "{}", error(&file));
}

#[test]
fn any_changed_byte_is_survived() {
    let mut writer = NgWriter::new(Vec::new(), "sluice", "").expect("memory");
    writer.interface("veth1", "shop/web", "peer=1", 100).expect("memory");
    let frame = NgFrame {
        interface: 0,
        nanos: 1,
        original_len: 5,
        bytes: b"frame",
        outbound: false,
        lost_before: 2,
        comment: "c",
    };
    writer.frame(&frame).expect("memory");
    writer.statistics(0, &NgStatistics::default()).expect("memory");
    let good = std::mem::take(writer.get_mut());
    for at in 0..good.len() {
        for value in [0, 1, 6, 0x7f, 0xff] {
            let mut file = good.clone();
            file[at] = value;
            let _survived = read(&file);
        }
        let _cut = read(&good[..at]);
    }
}
