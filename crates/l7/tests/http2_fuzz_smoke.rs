//! The bodies of the fuzz targets `http2` and `hpack`, for some seconds and on a stable toolchain.

use std::time::Duration;

use l7::http2::fuzzing;

/// Time for each test.
const BUDGET: Duration = Duration::from_millis(3_000);

#[test]
fn conversations() {
    arbtest::arbtest(|u| {
        fuzzing::run(u.bytes(u.len())?);
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn header_blocks() {
    arbtest::arbtest(|u| {
        fuzzing::hpack(u.bytes(u.len())?);
        Ok(())
    })
    .budget(BUDGET)
    .run();
}
