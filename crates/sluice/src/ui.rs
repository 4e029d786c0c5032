//! The web page of the node: starting it, its token, and `sluice ui`, which prints where it is.
//!
//! The token's file is for root alone. Who may read it may see every flow of the node.

mod answers;

use crate::args::UiArgs;
use crate::config::Config;
use crate::run::shared::Shared;
use ::ui::{Options, Running, Token};
use anyhow::{Context as _, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Longest token file that is read.
const MAX_FILE: u64 = 4096;

/// How long the page may take to answer `sluice ui`.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves the page if that is configured.
///
/// # Errors
/// When the address or the token cannot be used.
pub fn start(config: &Config, shared: &Arc<Shared>) -> Result<Option<Running>> {
    let Some(address) = config.ui.address() else { return Ok(None) };
    let token = token(config).context("the web page's token")?;
    let mut options = Options::new(address, token);
    options.hosts.clone_from(&config.ui.hosts);
    options.max_connections = config.ui.max_connections;
    options.node_name.clone_from(&shared.node.name);
    let answers = answers::Answers::new(Arc::clone(shared), config);
    let running = ::ui::start(options, Arc::clone(shared.flows.store()), Arc::new(answers))?;
    tracing::info!(address = %running.address(), "web page; `sluice ui` prints the address with the token");
    Ok(Some(running))
}

/// The configured token, or a fresh one in its file.
fn token(config: &Config) -> Result<Token> {
    let path = config.ui.token_path(&config.api.socket);
    let given = !config.ui.token_file.as_os_str().is_empty();
    if given && path.exists() {
        return read_token(&path);
    }
    let token = Token::random()?;
    write_token(&path, &token).with_context(|| format!("write {}", path.display()))?;
    Ok(token)
}

fn read_token(path: &Path) -> Result<Token> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others; chmod 600 it", path.display());
    }
    let mut text = String::new();
    (&file).take(MAX_FILE).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    Token::new(text.trim()).with_context(|| path.display().to_string())
}

/// Never through a link or into a file that somebody else has open.
fn write_token(path: &Path, token: &Token) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", token.reveal())
}

/// `sluice ui`: the address of the page with its token; 1 if it is not served.
///
/// # Errors
/// When the configuration or the token cannot be read.
pub fn print_address(args: &UiArgs) -> Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let Some(address) = config.ui.address() else {
        eprintln!(
            "the web page is off; write `ui: {{listen: 127.0.0.1:12000}}` into {}",
            args.config.join(crate::config::FILE).display()
        );
        return Ok(ExitCode::from(crate::cli::NO));
    };
    let near = nearest(address);
    if TcpStream::connect_timeout(&near, PATIENCE).is_err() {
        eprintln!("nothing answers on {near}; is the node service running?");
        return Ok(ExitCode::from(crate::cli::NO));
    }
    let token = read_token(&config.ui.token_path(&config.api.socket))?;
    crate::cli::print(&format!("http://{near}/#token={}\n", token.reveal()))
}

/// The address to use on this machine.
fn nearest(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_kept_from_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.api.socket = dir.path().join("api.sock");
        let path = dir.path().join("ui-token");

        let first = token(&config).expect("a token");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read_token(&path).expect("readable").reveal(), first.reveal());
        // A link in its place is not followed.
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "kept").expect("written");
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        let second = token(&config).expect("a token");
        assert_ne!(first.reveal(), second.reveal());
        assert_eq!(std::fs::read_to_string(&elsewhere).expect("there"), "kept");

        config.ui.token_file = dir.path().join("own");
        std::fs::write(&config.ui.token_file, "0123456789abcdef\n").expect("written");
        let open = token(&config).expect_err("others can read it");
        assert!(format!("{open:#}").contains("chmod 600"), "{open:#}");
        std::fs::set_permissions(&config.ui.token_file, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(token(&config).expect("a token").reveal(), "0123456789abcdef");
        std::fs::write(&config.ui.token_file, "weak\n").expect("written");
        assert!(token(&config).is_err());
    }

    #[test]
    fn the_address_is_one_that_this_machine_reaches() {
        let near = |text: &str| nearest(text.parse().expect("an address")).to_string();
        assert_eq!(near("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(near("[::]:1"), "[::1]:1");
        assert_eq!(near("192.0.2.1:1"), "192.0.2.1:1");
    }
}
