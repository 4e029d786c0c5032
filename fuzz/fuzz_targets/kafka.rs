//! Arbitrary bytes on both sides of a Kafka connection: no panic, and cut elsewhere they mean the same.
//!
//! The body is in the crate; `crates/l7/tests/kafka/hostile.rs` runs it on a stable toolchain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| l7::kafka::fuzzing::assert_kafka_holds(data));
