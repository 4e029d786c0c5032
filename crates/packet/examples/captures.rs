//! Writes `testdata/pcap/`: `cargo run -p packet --example captures`, from the root of the repository.

fn main() -> std::io::Result<()> {
    std::fs::write("testdata/pcap/every_kind.pcap", packet::testing::capture(&packet::testing::seeds()))
}
