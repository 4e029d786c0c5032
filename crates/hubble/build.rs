//! Makes Rust of the protocol text, without asking for protoc: the compiler is a library.
//!
//! Two passes: the second names the filter type itself, so that a field of a filter which this server does not know is
//! noticed instead of dropped (`src/filter/strict.rs`).

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let flow = protox::compile(["flow/flow.proto", "relay/relay.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(flow)?;
    let all = protox::compile(["observer/observer.proto"], ["proto"])?;
    // What clients read by reflection.
    std::fs::write(out.join("descriptors.bin"), all.encode_to_vec())?;
    tonic_prost_build::configure()
        // Clients bring their own connection.
        .build_transport(false)
        .extern_path(".flow", "crate::proto::flow")
        .extern_path(".flow.FlowFilter", "crate::filter::Strict")
        .extern_path(".relay", "crate::proto::relay")
        .compile_fds(all)?;
    Ok(())
}
