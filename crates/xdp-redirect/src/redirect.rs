//! Loading the program once, attaching it to interfaces, and speaking to its maps.

mod attach;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::programs::links::FdLink;
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;
use nix::time::{ClockId, clock_gettime};

use crate::abi::{self, Counters, Fallback, Mode, PortWords};
use crate::error::RedirectError;
use crate::link::{self, AttachMode, Interface};
use crate::pin::{self, PinDir};

/// Where links and maps are pinned unless told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/sluice";

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder on a BPF file system (mounted if missing) that links and maps are pinned in; `None` ties the
    /// attachments to this process.
    pub pin: Option<PathBuf>,
    /// Sockets count as gone when [`Redirect::heartbeat`] was not called for this long; `None` for never.
    pub heartbeat_limit: Option<Duration>,
    /// Whether generic mode may be used where the driver refuses native mode.
    pub allow_generic: bool,
    /// Whether native mode is not even tried.
    pub generic_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        let pin = Some(PathBuf::from(DEFAULT_PIN_DIR));
        Self { pin, heartbeat_limit: None, allow_generic: true, generic_only: false }
    }
}

/// What came of [`Redirect::attach`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// The interface.
    pub ifindex: u32,
    /// Its name at that moment.
    pub interface: String,
    /// How the program runs there. [`AttachMode::Generic`] is a degradation worth reporting.
    pub mode: AttachMode,
    /// Why native mode was refused, when it was.
    pub native_refused: Option<String>,
    /// Whether a link left pinned by an earlier process was taken over.
    pub adopted: bool,
    /// Receive queues that the device can have; those in use need a socket each, or meet the fallback.
    pub queues: u32,
}

/// The loaded program, its maps and its attachments.
///
/// Dropping it closes the process's handles: with a pin folder the attachments stay, without one they end.
pub struct Redirect {
    ebpf: Ebpf,
    sockets: XskMap<MapData>,
    ports: HashMap<MapData, u32, PortWords>,
    beat: Array<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
    links: BTreeMap<u32, Held>,
    pins: Option<PinDir>,
    allow_generic: bool,
    generic_only: bool,
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect")
            .field("links", &self.links)
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

/// An attachment this process holds; pinned or not, the handle keeps it.
#[derive(Debug)]
struct Held(FdLink);

impl Held {
    /// The number of the attached program.
    fn program(&self) -> Option<u32> {
        self.0.info().ok().map(|info| info.program_id())
    }
}

impl Redirect {
    /// Loads the program, adopting the maps pinned by an earlier process, and forgets ports whose interface is gone.
    ///
    /// # Errors
    /// When the kernel refuses the program or the pin folder cannot be used.
    pub fn load(options: &Options) -> Result<Self, RedirectError> {
        let pins = options.pin.as_deref().map(PinDir::prepare).transpose()?;
        let mut loader = EbpfLoader::new();
        if let Some(pins) = &pins {
            for name in abi::MAPS {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf =
            loader.load(aya::include_bytes_aligned!("../redirect.bpf.o")).map_err(RedirectError::Load)?;
        program(&mut ebpf)?.load().map_err(RedirectError::Program)?;
        let sockets = XskMap::try_from(take(&mut ebpf, abi::SOCKETS)?).map_err(on(abi::SOCKETS))?;
        let ports = HashMap::try_from(take(&mut ebpf, abi::PORTS)?).map_err(on(abi::PORTS))?;
        let beat = Array::try_from(take(&mut ebpf, abi::HEARTBEAT)?).map_err(on(abi::HEARTBEAT))?;
        let counters = PerCpuArray::try_from(take(&mut ebpf, abi::COUNTERS)?).map_err(on(abi::COUNTERS))?;
        let links = BTreeMap::new();
        let (allow_generic, generic_only) = (options.allow_generic, options.generic_only);
        let mut redirect =
            Self { ebpf, sockets, ports, beat, counters, links, pins, allow_generic, generic_only };
        redirect.forget_dead()?;
        redirect.heartbeat(monotonic_ns())?;
        redirect.set_heartbeat_limit(options.heartbeat_limit)?;
        Ok(redirect)
    }

    /// Attaches to the interface called `name`.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_name(
        &mut self,
        name: &str,
        mode: Mode,
        fallback: Fallback,
    ) -> Result<Attached, RedirectError> {
        let ifindex = if_nametoindex(name).map_err(|_| RedirectError::NoInterface(name.to_owned()))?;
        self.attach(ifindex, mode, fallback)
    }

    /// Attaches to interface `ifindex`: native mode, else generic where allowed. Attaching again changes mode and
    /// fallback. The fallback is in force until sockets are set.
    ///
    /// # Errors
    /// [`RedirectError::Foreign`] when somebody else's program is there; it is never replaced.
    pub fn attach(
        &mut self,
        ifindex: u32,
        mode: Mode,
        fallback: Fallback,
    ) -> Result<Attached, RedirectError> {
        let interface = ask(ifindex)?;
        let queues = interface.rx_queues.min(abi::MAX_QUEUES);
        let held = self.links.contains_key(&ifindex);
        let left = if held { None } else { self.left_over(ifindex, &interface)? };
        if let (Some((id, _)), None, false) = (interface.xdp, &left, held) {
            return Err(RedirectError::Foreign { interface: interface.name, program: attach::foreign(id) });
        }
        let before = self.port(ifindex)?;
        let first = match before {
            Some(words) if words[abi::QUEUES] == queues => words[abi::FIRST_SOCKET],
            _ => self.free_range(ifindex, queues)?,
        };
        // Configured before it is attached: the program drops on a port that it does not know.
        self.put_port(ifindex, [first, queues, mode as u32, fallback as u32])?;
        let adopted = left.is_some();
        let outcome = if held { Ok(None) } else { self.link(ifindex, &interface, left) };
        let native_refused = match outcome {
            Ok(native_refused) => native_refused,
            Err(error) => {
                self.forget_port(ifindex)?;
                return Err(error);
            }
        };
        let now = ask(ifindex)?.xdp.map_or(AttachMode::Native, |(_, mode)| mode);
        Ok(Attached { ifindex, interface: interface.name, mode: now, native_refused, adopted, queues })
    }

    /// Detaches from `ifindex` and removes what was pinned for it.
    ///
    /// # Errors
    /// [`RedirectError::NotAttached`], or a pin that cannot be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), RedirectError> {
        let held = self.links.remove(&ifindex).ok_or(RedirectError::NotAttached(ifindex))?;
        if let Some(pins) = &self.pins {
            pin::unlink(&pins.link(ifindex))?;
        }
        let program = held.program();
        drop(held);
        // Detached before the configuration goes, so no frame meets an unknown port.
        if let Some(program) = program {
            link::wait_detached(ifindex, program);
        }
        self.forget_port(ifindex)
    }

    /// Detaches from everything and removes all pins: the clean exit.
    ///
    /// # Errors
    /// The first thing that could not be undone; the rest is undone all the same.
    pub fn detach_all(mut self) -> Result<(), RedirectError> {
        let attached: Vec<u32> = self.links.keys().copied().collect();
        let mut outcome = Ok(());
        for ifindex in attached {
            outcome = outcome.and(self.detach(ifindex));
        }
        if let Some(pins) = &self.pins
            && pins.linked().is_empty()
        {
            for name in abi::MAPS {
                outcome = outcome.and(pin::unlink(&pins.map(name)));
            }
        }
        outcome
    }

    /// Gives the frames of one queue to the socket `fd`, which must be bound to that interface and queue.
    ///
    /// # Errors
    /// When the port is not attached, has no such queue, or the kernel refuses the socket.
    pub fn set_socket(&mut self, ifindex: u32, queue: u32, fd: impl AsRawFd) -> Result<(), RedirectError> {
        let index = self.socket_index(ifindex, queue)?;
        self.sockets.set(index, fd, 0).map_err(on(abi::SOCKETS))
    }

    /// Takes the queue's socket away; its frames meet the fallback. (The kernel does the same when a socket closes.)
    ///
    /// # Errors
    /// When the port is not attached or has no such queue.
    pub fn clear_socket(&mut self, ifindex: u32, queue: u32) -> Result<(), RedirectError> {
        let index = self.socket_index(ifindex, queue)?;
        unset(&mut self.sockets, index)
    }

    /// Changes what happens to a port's frames without a living socket, at once and without reloading.
    ///
    /// # Errors
    /// When the port is not attached.
    pub fn set_fallback(&mut self, ifindex: u32, fallback: Fallback) -> Result<(), RedirectError> {
        let mut words = self.port(ifindex)?.ok_or(RedirectError::NotAttached(ifindex))?;
        words[abi::FALLBACK] = fallback as u32;
        self.put_port(ifindex, words)
    }

    /// Says that userspace is alive at `now_ns` (CLOCK_MONOTONIC, see [`monotonic_ns`]).
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn heartbeat(&mut self, now_ns: u64) -> Result<(), RedirectError> {
        self.beat.set(abi::BEAT_LAST_NS, now_ns, 0).map_err(on(abi::HEARTBEAT))
    }

    /// Changes for how long a sign of life is believed; `None` for ever.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_heartbeat_limit(&mut self, limit: Option<Duration>) -> Result<(), RedirectError> {
        let ns = limit.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        self.beat.set(abi::BEAT_LIMIT_NS, ns, 0).map_err(on(abi::HEARTBEAT))
    }

    /// The counters, summed over CPUs. They survive a restart when pinned.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, RedirectError> {
        let mut sums = [0; Counters::LEN];
        for (index, sum) in (0..).zip(&mut sums) {
            let values = self.counters.get(&index, 0).map_err(on(abi::COUNTERS))?;
            *sum = values.iter().sum();
        }
        Ok(Counters::from_slots(sums))
    }

    /// Interfaces this loader is attached to.
    #[must_use]
    pub fn attached(&self) -> Vec<u32> {
        self.links.keys().copied().collect()
    }

    /// The first run of `queues` socket entries that no other port uses.
    fn free_range(&self, ifindex: u32, queues: u32) -> Result<u32, RedirectError> {
        let mut taken = Vec::new();
        for entry in self.ports.iter() {
            let (port, words) = entry.map_err(on(abi::PORTS))?;
            if port != ifindex {
                taken.push((words[abi::FIRST_SOCKET], words[abi::QUEUES]));
            }
        }
        first_gap(taken, queues).ok_or(RedirectError::NoRoom { wanted: queues })
    }

    fn socket_index(&self, ifindex: u32, queue: u32) -> Result<u32, RedirectError> {
        let words = self.port(ifindex)?.ok_or(RedirectError::NotAttached(ifindex))?;
        let queues = words[abi::QUEUES];
        if queue >= queues {
            return Err(RedirectError::NoQueue { ifindex, queue, queues });
        }
        Ok(words[abi::FIRST_SOCKET] + queue)
    }

    fn port(&self, ifindex: u32) -> Result<Option<PortWords>, RedirectError> {
        match self.ports.get(&ifindex, 0) {
            Ok(words) => Ok(Some(words)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(on(abi::PORTS)(error)),
        }
    }

    fn put_port(&mut self, ifindex: u32, words: PortWords) -> Result<(), RedirectError> {
        self.ports.insert(ifindex, words, 0).map_err(on(abi::PORTS))
    }

    fn forget_port(&mut self, ifindex: u32) -> Result<(), RedirectError> {
        let Some(words) = self.port(ifindex)? else { return Ok(()) };
        let first = words[abi::FIRST_SOCKET];
        for index in first..(first + words[abi::QUEUES]).min(abi::MAX_SOCKETS) {
            unset(&mut self.sockets, index)?;
        }
        self.ports.remove(&ifindex).map_err(on(abi::PORTS))
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of [`Redirect::heartbeat`].
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| Duration::from(now).as_nanos().try_into().unwrap_or(u64::MAX))
}

/// The lowest start of `wanted` free entries beside the (start, length) ranges of `taken`.
fn first_gap(mut taken: Vec<(u32, u32)>, wanted: u32) -> Option<u32> {
    taken.sort_unstable();
    let mut start = 0u32;
    for (first, len) in taken {
        if first.saturating_sub(start) >= wanted {
            break;
        }
        start = start.max(first.saturating_add(len));
    }
    (start.checked_add(wanted)? <= abi::MAX_SOCKETS).then_some(start)
}

fn unset(sockets: &mut XskMap<MapData>, index: u32) -> Result<(), RedirectError> {
    match sockets.unset(index) {
        Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        // An empty entry answers ENOENT on some kernels and success on others.
        Err(aya::maps::MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(on(abi::SOCKETS)(error)),
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, RedirectError> {
    let missing = RedirectError::Missing { what: "program", name: abi::PROGRAM };
    ebpf.program_mut(abi::PROGRAM).ok_or(missing)?.try_into().map_err(RedirectError::Program)
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, RedirectError> {
    ebpf.take_map(name).ok_or(RedirectError::Missing { what: "map", name })
}

fn on(map: &'static str) -> impl Fn(aya::maps::MapError) -> RedirectError {
    move |source| RedirectError::Map { map, source }
}

fn ask(ifindex: u32) -> Result<Interface, RedirectError> {
    link::query(ifindex).map_err(|source| match source.raw_os_error() {
        Some(nix::libc::ENODEV) => RedirectError::NoInterface(format!("with index {ifindex}")),
        _ => RedirectError::Query { ifindex, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_ranges_fill_gaps_and_never_overlap() {
        assert_eq!(first_gap(vec![], 4), Some(0));
        assert_eq!(first_gap(vec![(0, 2), (4, 4)], 2), Some(2));
        assert_eq!(first_gap(vec![(4, 4), (0, 2)], 3), Some(8));
        assert_eq!(first_gap(vec![(0, abi::MAX_SOCKETS)], 1), None);
        assert_eq!(first_gap(vec![(0, abi::MAX_SOCKETS - 1)], 1), Some(abi::MAX_SOCKETS - 1));
    }
}
