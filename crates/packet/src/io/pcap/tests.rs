use super::*;
use crate::testing;
use pcap_file::pcap::PcapReader;

/// A capture with one record per (seconds, fraction, bytes).
fn capture(nanos: bool, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let magic: u32 = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = magic.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for (sec, frac, bytes) in records {
        let len = bytes.len() as u32;
        for field in [*sec, *frac, len, len] {
            file.extend(field.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}

fn reader(file: &[u8]) -> Result<PcapIo<&[u8], Vec<u8>>, IoError> {
    let place = |frame: &[u8]| PortId(u16::from(frame.get(11).copied().unwrap_or(0)) % 3);
    PcapIo::new(file, 2, place, Output::One(Vec::new()))
}

/// Forwards everything to port 1 and answers the times and ports of arrival, or the error.
fn run(io: &mut PcapIo<&[u8], Vec<u8>>) -> Result<Vec<(u64, u16)>, IoError> {
    let mut seen = Vec::new();
    let mut burst = Burst::new();
    while !io.finished() {
        io.recv(&mut burst)?;
        for frame in burst.drain() {
            seen.push((io.now().as_nanos(), frame.port().0));
            assert!(io.mem.send(PortId(1), frame).is_ok());
        }
        io.flush()?;
    }
    assert_eq!(io.outstanding(), 0);
    Ok(seen)
}

#[test]
fn capture_time_is_the_time_in_either_resolution() {
    let frame = testing::with_macs(
        testing::udp("10.0.0.1", "10.0.0.2", 1, 2, b"x"),
        crate::MacAddr([2, 0, 0, 0, 0, 0]),
        crate::MacAddr::default(),
    );
    for (nanos, unit) in [(true, 1), (false, 1_000)] {
        // The third record is older than the second: time stands still for it.
        let records = [(5, 10, &frame[..]), (5, 30, &frame), (5, 20, &frame), (6, 0, &frame)];
        let file = capture(nanos, &records);
        let mut io = reader(&file).unwrap();
        let second = 1_000_000_000;
        let times: Vec<u64> = run(&mut io).unwrap().into_iter().map(|(t, _)| t).collect();
        let late = 5 * second + 30 * unit;
        assert_eq!(times, [5 * second + 10 * unit, late, late, 6 * second]);

        let written = io.into_outputs().pop().unwrap();
        let mut again = PcapReader::new(&written[..]).unwrap();
        let mut stamps = Vec::new();
        while let Some(record) = again.next_packet() {
            let record = record.unwrap();
            assert_eq!(record.data, frame);
            stamps.push(record.timestamp.as_nanos() as u64);
        }
        assert_eq!(stamps, times, "what was sent carries the time of its cause");
    }
}

#[test]
fn the_closure_places_frames_and_wrong_places_are_lost() {
    let frame = |n: u8| {
        let mut f = testing::udp("10.0.0.1", "10.0.0.2", 1, 2, b"x");
        f[11] = n;
        f
    };
    let frames = [frame(0), frame(1), frame(2)];
    let records: Vec<(u32, u32, &[u8])> = frames.iter().map(|f| (1, 0, &f[..])).collect();
    let file = capture(true, &records);
    let mut io = reader(&file).unwrap();
    let ports: Vec<u16> = run(&mut io).unwrap().into_iter().map(|(_, p)| p).collect();
    assert_eq!(ports, [0, 1]);
    assert_eq!(io.stats().rx_lost, 1);
}

#[test]
fn damaged_captures_are_errors() {
    let good = capture(false, &[(1, 2, &[9; 60])]);
    for len in 0..24 {
        assert!(matches!(reader(&good[..len]), Err(IoError::Capture(_))), "header of {len} bytes");
    }
    for len in 25..good.len() {
        let mut io = reader(&good[..len]).unwrap();
        assert!(matches!(run(&mut io), Err(IoError::Capture(_))), "{len} bytes");
    }
    let broken = |at: usize, value: u32| {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        matches!(reader(&file).and_then(|mut io| run(&mut io)), Err(IoError::Capture(_)))
    };
    assert!(broken(0, 0x1234_5678), "magic number");
    assert!(broken(20, 101), "not Ethernet");
    assert!(broken(28, 1_000_000), "a million microseconds");
    assert!(broken(28, u32::MAX), "a fraction that overflows");
    assert!(broken(32, u32::MAX), "a record of four gigabytes");
    let long = vec![0; MAX_FRAME_LEN + 1];
    let file = capture(true, &[(0, 0, &long)]);
    assert!(matches!(run(&mut reader(&file).unwrap()), Err(IoError::Capture(_))));
    let file = capture(true, &[(0, 0, &long[1..])]);
    assert_eq!(run(&mut reader(&file).unwrap()).unwrap().len(), 1, "the longest record");
}

#[test]
fn any_flipped_byte_of_a_capture_is_survived() {
    let frame = testing::udp("10.0.0.1", "10.0.0.2", 1, 2, b"x");
    let good = capture(true, &[(1, 2, &frame), (1, 3, &frame)]);
    for at in 0..24 + 16 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut file = good.clone();
            file[at] = value;
            if let Ok(mut io) = reader(&file) {
                let _ = run(&mut io);
            }
        }
    }
}
