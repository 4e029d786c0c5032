//! Serves the page over made-up flows, without a node service and without root:
//!
//! ```text
//! cargo run -p ui --example serve -- [ADDRESS [FLOWS-PER-MINUTE [TOKEN]]]
//! ```
//!
//! The flows are those of a small shop; the browser test of this crate reads what this prints.

use flowlog::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[path = "../tests/support/shop.rs"]
mod shop;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:12000".into()).parse()?;
    let per_minute: u32 = arguments.next().map_or(Ok(600), |text| text.parse())?;
    let token = match arguments.next() {
        Some(text) => ui::Token::new(&text)?,
        None => ui::Token::random()?,
    };
    let store = Arc::new(Store::new(16_384));
    let mut shop = shop::Shop::default();
    for record in shop.story() {
        store.push(record);
    }
    let mut options = ui::Options::new(listen, token.clone());
    options.node_name = "node-1".into();
    let running = ui::start(options, Arc::clone(&store), Arc::new(shop::Answers))?;
    println!("http://{}/#token={}", running.address(), token.reveal());
    if per_minute == 0 {
        loop {
            std::thread::park();
        }
    }
    let (start, mut made) = (Instant::now(), 0_u64);
    loop {
        let due = u64::try_from(start.elapsed().as_millis())? * u64::from(per_minute) / 60_000;
        while made < due {
            store.push(shop.next());
            made += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
