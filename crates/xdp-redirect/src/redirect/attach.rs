//! Making, adopting and judging attachments.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, loaded_programs};

use super::{Held, Redirect, program};
use crate::error::{ForeignProgram, RedirectError};
use crate::link::{self, Interface};
use crate::pin::{self, PinDir};

impl Redirect {
    /// Swaps the program of a left-over link, or makes a new one. Answers why native mode was refused, if it was.
    pub(super) fn link(
        &mut self,
        ifindex: u32,
        interface: &Interface,
        left: Option<PinnedLink>,
    ) -> Result<Option<String>, RedirectError> {
        let xdp = program(&mut self.ebpf)?;
        if let Some(left) = left {
            let old = FdLink::from(left);
            let link = XdpLink::try_from(old).map_err(|_| RedirectError::NoLink(interface.name.clone()))?;
            let id = xdp.attach_to_link(link).map_err(RedirectError::Program)?;
            let link = xdp.take_link(id).map_err(RedirectError::Program)?;
            let link = FdLink::try_from(link).map_err(|_| RedirectError::NoLink(interface.name.clone()))?;
            // Its pin is already in place; only the handle is kept.
            self.links.insert(ifindex, Held(link));
            return Ok(None);
        }
        let preferred = if self.generic_only { XdpMode::Skb } else { XdpMode::Driver };
        let (id, refused) = match xdp.attach_to_if_index(ifindex, preferred) {
            Ok(id) => (id, None),
            Err(native) if self.allow_generic && may_try_generic(&native) => {
                match xdp.attach_to_if_index(ifindex, XdpMode::Skb) {
                    Ok(id) => (id, Some(chain(&native))),
                    Err(generic) => return Err(refused(interface, &native, Some(&generic))),
                }
            }
            Err(native) => return Err(refused(interface, &native, None)),
        };
        let link = xdp.take_link(id).map_err(RedirectError::Program)?;
        let link = FdLink::try_from(link).map_err(|_| RedirectError::NoLink(interface.name.clone()))?;
        let link = match &self.pins {
            None => link,
            Some(pins) => {
                let path = pins.link(ifindex);
                let pinned = link
                    .pin(&path)
                    .map_err(|error| pin::failed("pin", &path, std::io::Error::other(error.to_string())))?;
                FdLink::from(pinned)
            }
        };
        self.links.insert(ifindex, Held(link));
        Ok(refused)
    }

    /// The link that an earlier process pinned for this interface, if it is what is attached there now. A pin whose
    /// interface is gone is removed.
    pub(super) fn left_over(
        &self,
        ifindex: u32,
        interface: &Interface,
    ) -> Result<Option<PinnedLink>, RedirectError> {
        let Some(path) = self.pins.as_ref().map(|pins| pins.link(ifindex)) else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        let attached = interface.xdp.map(|(id, _)| id);
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            let link = FdLink::from(pinned);
            let program = link.info().ok().map(|info| info.program_id());
            if attached.is_some() && program == attached {
                return Ok(PinnedLink::from_pin(&path).ok());
            }
        }
        pin::unlink(&path)?;
        Ok(None)
    }

    /// Removes ports whose interface is gone or no longer carries our pinned link.
    pub(super) fn forget_dead(&mut self) -> Result<(), RedirectError> {
        let mut known: Vec<u32> = self.ports.keys().flatten().collect();
        known.extend(self.pins.iter().flat_map(PinDir::linked));
        known.sort_unstable();
        known.dedup();
        for ifindex in known {
            let alive = match link::query(ifindex) {
                Ok(interface) => self.left_over(ifindex, &interface)?.is_some(),
                Err(_) => {
                    if let Some(pins) = &self.pins {
                        pin::unlink(&pins.link(ifindex))?;
                    }
                    false
                }
            };
            if !alive {
                self.forget_port(ifindex)?;
            }
        }
        Ok(())
    }
}

/// Names a program by its number.
pub(super) fn foreign(id: u32) -> ForeignProgram {
    let name = loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .filter(|name| !name.is_empty());
    ForeignProgram { id, name: name.unwrap_or_else(|| "?".to_owned()) }
}

/// Another program in the way, a missing right or a missing interface will not get better in generic mode.
fn may_try_generic(error: &ProgramError) -> bool {
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    !matches!(
        code,
        Some(nix::libc::EBUSY | nix::libc::EEXIST | nix::libc::EPERM | nix::libc::EACCES | nix::libc::ENODEV)
    )
}

fn refused(interface: &Interface, native: &ProgramError, generic: Option<&ProgramError>) -> RedirectError {
    RedirectError::Attach {
        interface: interface.name.clone(),
        native: chain(native),
        generic: generic.map(|error| chain(error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
