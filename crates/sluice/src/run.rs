//! `sluice run`: open, attach, pin, spawn, wait, drain.
//!
//! ```text
//!   main ── control thread: files, links, ports, snapshots
//!     ├─ worker-0 …  packets: one thread for each of `datapath.workers`
//!     ├─ flows       workers' event rings → flow log
//!     ├─ heartbeat   "all workers are alive" → kernel program
//!     ├─ api …       one thread for each client, a few at most
//!     └─ signals, links, files: ring the control thread's bell
//! ```

pub mod balance;
pub mod bell;
pub mod clock;
pub mod control;
pub mod cpus;
pub mod crew;
pub mod files;
pub mod fqdn;
pub mod heartbeat;
pub mod ports;
pub mod rules;
pub mod services;
pub mod settings;
pub mod shared;
pub mod signals;
pub mod spin;
pub mod state;
pub mod worker;
pub mod workers;

use crate::api::{self, names::NodeFacts};
use crate::args::RunArgs;
use crate::config::{Config, DenyResponse, Polling, XdpMode};
use crate::host_port::{self, HostPort};
use crate::netlink::{self, Netlink};
use crate::{logging, privileges, service};
use afxdp::Sizes;
use anyhow::{Context as _, Result};
use bell::Reason;
use datapath::{DatapathConfig, SharedSnapshot};
use files::Sources;
use rules::Rules;
use shared::Shared;
use state::{Saver, StateFile};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use workers::Workers;
use xdp_redirect::{Options, Redirect};

/// Events between a worker and the flow log; what does not fit is shed and counted.
pub(crate) const EVENT_RING: usize = 8192;

/// Ports that the packet memory is made for at least, so that pods may come after the start.
const MIN_PORTS: usize = 16;

/// Ports that it is made for at most; more share what there is.
const MAX_PORTS: usize = 111;

/// Runs the node service until it is asked to end.
///
/// # Errors
/// When it cannot start, or the packet path fails.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut config = Config::load(&args.config)?;
    let in_file = settings::Settings::new(&args.config, config.clone());
    if let Some(socket) = &args.socket {
        config.api.socket.clone_from(socket);
    }
    if args.check {
        print!("{}", serde_yaml::to_string(&config)?);
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&config.log);
    let clock = clock::Clock::start();
    let node = config.node_name();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node, config = %args.config.display(), "starting");

    // First, because it fails where another service runs, and everything after it may be that one's.
    let listener = api::bind(&config.api.socket)?;
    let sources = Sources::read(&args.config);
    let mut state = StateFile::open(&config.state);
    let mut rules = Rules::new(&config, &node);
    rules.engine_mut().set_fqdn_limits(config.dns.limits());
    if let Some(state) = &mut state {
        state.restore_identities(&mut rules);
        state.restore_names(&mut rules, fqdn::seconds(&clock));
    }
    rules.load(&sources);

    crate::privileges::raise_open_files();
    let netlink = Netlink::open()?;
    let redirect = load_program(&config)?;
    let sizes = sizes(&config, &rules);
    let opened = (0..config.datapath.workers).map(|_| afxdp::open(sizes)).collect::<Result<Vec<_>, _>>();
    let (openers, backends) = opened.context("open AF_XDP")?.into_iter().unzip();
    let host_port = if config.host_port.enabled { Some(HostPort::create(&netlink, &config)?) } else { None };
    give_up_privileges(&config)?;

    // Threads from here on.
    if config.datapath.polling == Polling::Busy {
        cpus::leave(&config.datapath.cpu);
    }
    let (bell, waiter) = bell::bell();
    signals::listen(bell.clone())?;
    let redirect = Arc::new(Mutex::new(redirect));
    let snapshot = SharedSnapshot::default();
    if !config.flow_log.enabled {
        tracing::warn!("the flow log is off (flowLog.enabled): drops are only counted");
    }
    let settings = datapath_config(&config);
    let max_connections = settings.conntrack.max_entries;
    // A packet of a connection that is about to be restored must not be taken for the first of a new one.
    let hold = state.as_ref().is_some_and(StateFile::has_connections);
    let crew = crew::start(&config, settings, backends, &snapshot, clock, hold, &bell)?;
    let workers = Workers::of(&crew.threads, crew.mover);
    let facts = Arc::new(NodeFacts::new(&node, &config));
    let (flows, help) =
        api::flows::start(crew.events, Arc::clone(&snapshot), &config.flow_log, Arc::clone(&facts), clock)?;
    // Nobody has said it before.
    let _ = crew.help.set(help);
    let weak = Arc::downgrade(&redirect);
    let shared = Arc::new(Shared::new(
        facts,
        args.config.clone(),
        clock,
        snapshot,
        workers.clone(),
        max_connections,
        flows,
        weak.clone(),
    ));
    let beat = config.xdp.heartbeat.get();
    if !beat.is_zero() {
        heartbeat::start(weak, workers.clone(), clock, beat)?;
    }
    let links = bell.clone();
    netlink::watch(move || links.ring(Reason::Links))?;
    let changed = bell.clone();
    let changes = files::Changes::default();
    let _watching = files::watch(&args.config, changes.clone(), move || {
        changed.ring(Reason::Files);
    })?;

    let ports = ports::Ports::new(
        openers,
        Arc::clone(&redirect),
        workers.clone(),
        crew.owners,
        config.xdp.mode,
        config.datapath.on_failure,
    );
    let dir = args.config.clone();
    let mut control = control::Control {
        config,
        settings: in_file,
        dir,
        node,
        netlink,
        ports,
        host_port,
        rules,
        shared: Arc::clone(&shared),
        service: service::Service::default(),
        clock,
        sources,
        changes,
        learning: fqdn::Learning::start(crew.learnt, workers.clone(), bell.clone())?,
        balancer: balance::Balancer::new(workers, clock),
    };
    control.reconcile(true);
    if let Some(state) = &mut state {
        state.restore_connections(&shared);
    }
    crew.threads.iter().for_each(worker::Thread::go);
    let interval = control.config.state.interval.get();
    let saver = state.map(|state| Saver::start(state, Arc::clone(&shared), interval)).transpose()?;
    let _api = api::serve(listener, Arc::clone(&shared))?;
    let _services = services::Services::start(&control.config, &shared)?;
    let line = control.status_line();
    control.service.ready(&line);
    tracing::info!(status = line, "ready");

    let outcome = control.run(&waiter);
    control.service.stopping();
    tracing::info!("stopping");
    // Connections on their way would not be saved.
    control.balancer.settle();
    if let Some(saver) = saver {
        saver.finish(&shared);
    }
    let end = drain(control, crew.threads, redirect);
    outcome.and(end)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Clean exit: save, close, detach, remove.
fn drain(
    control: control::Control,
    workers: Vec<worker::Thread>,
    redirect: Arc<Mutex<Redirect>>,
) -> Result<()> {
    workers.iter().for_each(worker::Thread::ask_to_stop);
    let ends: Vec<_> = workers.into_iter().map(worker::Thread::stop).collect();
    let outcome = ends.into_iter().collect::<Result<()>>();
    let control::Control { netlink, ports, host_port, config, .. } = control;
    drop(ports);
    let detached = detach(redirect).and_then(|()| unpin(&config));
    let removed = host_port.map_or(Ok(()), |host_port| host_port.remove(&netlink));
    outcome.and(detached).and(removed)
}

fn detach(mut redirect: Arc<Mutex<Redirect>>) -> Result<()> {
    // Another thread may be in the middle of a heartbeat or of reading counters.
    for _ in 0..100 {
        match Arc::try_unwrap(redirect) {
            Ok(redirect) => {
                let redirect = redirect.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
                return redirect.detach_all().context("detach");
            }
            Err(shared) => redirect = shared,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut redirect = ports::lock(&redirect);
    redirect.attached().into_iter().try_for_each(|ifindex| redirect.detach(ifindex)).context("detach")
}

/// Removes what is left of the pins: folders, and links of interfaces that went away while nobody looked.
fn unpin(config: &Config) -> Result<()> {
    if config.xdp.pin_dir.as_os_str().is_empty() {
        return Ok(());
    }
    xdp_redirect::cleanup(&config.xdp.pin_dir).context("remove pins")
}

fn load_program(config: &Config) -> Result<Redirect> {
    let pin = (!config.xdp.pin_dir.as_os_str().is_empty()).then(|| config.xdp.pin_dir.clone());
    let beat = config.xdp.heartbeat.get();
    let options = Options {
        pin,
        heartbeat_limit: (!beat.is_zero()).then_some(beat),
        allow_generic: config.xdp.mode != XdpMode::Native,
        generic_only: config.xdp.mode == XdpMode::Generic,
    };
    Redirect::load(&options).context("load the XDP program")
}

/// Ring sizes and memory of each worker: as configured, else by the number of pods.
fn sizes(config: &Config, rules: &Rules) -> Sizes {
    let pods = rules.inventory().pods.iter().filter(|pod| pod.interface.is_some()).count();
    let ports = (pods * 2 + 1).clamp(MIN_PORTS, MAX_PORTS);
    let mut sizes = Sizes::for_share(ports, config.datapath.workers);
    if config.datapath.ring_size != 0 {
        sizes.ring = config.datapath.ring_size;
    }
    if config.datapath.umem_mib != 0 {
        sizes.chunks = config.datapath.umem_mib * ((1 << 20) / afxdp::CHUNK_SIZE);
        sizes.reserve = sizes.reserve.min(sizes.chunks / 4);
    }
    sizes
}

pub(crate) fn datapath_config(config: &Config) -> DatapathConfig {
    DatapathConfig {
        conntrack: config.datapath.conntrack.table(),
        deny_response: match config.policy.deny_response {
            DenyResponse::Drop => datapath::DenyResponse::Drop,
            DenyResponse::Reject => datapath::DenyResponse::Reject,
        },
        l7: {
            let mut l7 = datapath::config::L7Config {
                settings: config.dns.l7_settings(),
                answer_timeout: config.dns.answer_timeout.get(),
                ..datapath::config::L7Config::default()
            };
            config.l7.apply(&mut l7);
            l7
        },
        adopt_midstream_for: config.datapath.conntrack.adopt_midstream_for.get(),
        ..DatapathConfig::default()
    }
}

fn give_up_privileges(config: &Config) -> Result<()> {
    if config.process.drop_capabilities {
        let kept = privileges::drop_capabilities().context("drop capabilities")?;
        tracing::debug!(kept = kept.join(","), "capabilities");
    }
    if config.process.seccomp {
        privileges::filter_system_calls()?;
    }
    Ok(())
}

/// `sluice cleanup`: removes what a service that is gone left behind.
///
/// # Errors
/// When something cannot be removed.
pub fn cleanup(args: &crate::args::CleanupArgs) -> Result<ExitCode> {
    let config = Config::load(&args.config).or_else(|error| match error {
        crate::config::ConfigError::Read { .. } => Ok(Config::default()),
        wrong @ crate::config::ConfigError::Invalid { .. } => Err(wrong),
    })?;
    if std::os::unix::net::UnixStream::connect(&config.api.socket).is_ok() {
        anyhow::bail!("a node service answers on {}; stop it first", config.api.socket.display());
    }
    let netlink = Netlink::open()?;
    if !config.xdp.pin_dir.as_os_str().is_empty() {
        xdp_redirect::cleanup(&config.xdp.pin_dir)?;
        println!("removed pins in {}", config.xdp.pin_dir.display());
    }
    host_port::remove(&netlink, &config.host_port.name)?;
    println!("removed {}", config.host_port.name);
    let _ = std::fs::remove_file(&config.api.socket);
    if args.state && !config.state.dir.as_os_str().is_empty() {
        StateFile::remove(&config.state)?;
        println!("removed saved state in {}", config.state.dir.display());
    }
    Ok(ExitCode::SUCCESS)
}
