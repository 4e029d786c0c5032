//! The parts of the sluice binary that its own end-to-end tests and benches use too.
//!
//! `main.rs` stays a thin shell over these modules; nothing here is a stable interface for other programs.

#![forbid(unsafe_code)]

pub mod api;
pub mod args;
pub mod bugreport;
pub mod capture;
pub mod cli;
pub mod config;
pub mod demo;
pub mod export;
pub mod history;
pub mod host_port;
pub mod hubble;
pub mod logging;
pub mod metrics;
pub mod netlink;
pub mod observe;
pub mod policy_cmd;
pub mod privileges;
pub mod replay;
pub mod run;
pub mod service;
pub mod show;
pub mod testbed;
pub mod top;
pub mod ui;
pub mod watch;
