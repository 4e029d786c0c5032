//! The web page: where it is served, and who may look.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the token's file, next to the API socket, unless another is named.
const TOKEN_FILE: &str = "ui-token";

/// The web page.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ui {
    /// Address and port; empty: not served.
    pub listen: String,
    /// Whether it may listen on an address that others reach.
    pub allow_remote: bool,
    /// Host names that browsers may use, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// File with the token; empty: a fresh token at every start, in `ui-token` next to the API socket.
    pub token_file: PathBuf,
    /// Connections at a time.
    pub max_connections: usize,
}

impl Default for Ui {
    fn default() -> Self {
        Self {
            listen: String::new(),
            allow_remote: false,
            hosts: Vec::new(),
            token_file: PathBuf::new(),
            max_connections: 64,
        }
    }
}

impl Ui {
    /// Where to listen, if the page is served.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// Where the token stands, for an API socket at `socket`.
    #[must_use]
    pub fn token_path(&self, socket: &Path) -> PathBuf {
        if self.token_file.as_os_str().is_empty() {
            socket.with_file_name(TOKEN_FILE)
        } else {
            self.token_file.clone()
        }
    }

    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.listen.is_empty() {
            let Ok(address) = self.listen.parse::<SocketAddr>() else {
                return Err(("ui.listen", "must be an address and a port, as in 127.0.0.1:12000".into()));
            };
            if address.port() == 0 {
                return Err(("ui.listen", "must name a port".into()));
            }
            if !address.ip().is_loopback() && !self.allow_remote {
                let message = "others reach this address; write 127.0.0.1, or ui.allowRemote: true behind a proxy with TLS";
                return Err(("ui.listen", message.into()));
            }
        }
        let plain = |name: &String| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            (1..=253).contains(&name.len()) && name.chars().all(fits)
        };
        if let Some(wrong) = self.hosts.iter().find(|name| !plain(name)) {
            return Err(("ui.hosts", format!("`{wrong}` is no host name; write it without scheme and port")));
        }
        if !self.token_file.as_os_str().is_empty() && !self.token_file.is_absolute() {
            return Err(("ui.tokenFile", "must be an absolute path".into()));
        }
        if !(4..=1024).contains(&self.max_connections) {
            return Err(("ui.maxConnections", "must be from 4 to 1024".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(ui: &Ui) -> Option<&'static str> {
        ui.check().err().map(|(key, _)| key)
    }

    #[test]
    fn only_what_is_meant_is_served() {
        let listen = |text: &str| Ui { listen: text.into(), ..Ui::default() };
        assert_eq!(wrong(&Ui::default()), None);
        assert_eq!(Ui::default().address(), None);
        for good in ["127.0.0.1:12000", "[::1]:12000", "127.8.8.8:1"] {
            assert_eq!(wrong(&listen(good)), None, "{good}");
            assert!(listen(good).address().is_some());
        }
        for bad in
            ["0.0.0.0:12000", "192.0.2.1:80", "[::]:80", "localhost:80", "127.0.0.1", "127.0.0.1:0", ":80"]
        {
            assert_eq!(wrong(&listen(bad)), Some("ui.listen"), "{bad}");
        }
        assert_eq!(wrong(&Ui { allow_remote: true, ..listen("0.0.0.0:12000") }), None);
        for name in ["https://x", "x:80", "", "a b"] {
            assert_eq!(wrong(&Ui { hosts: vec![name.into()], ..Ui::default() }), Some("ui.hosts"), "{name}");
        }
        assert_eq!(wrong(&Ui { max_connections: 0, ..Ui::default() }), Some("ui.maxConnections"));
        assert_eq!(wrong(&Ui { token_file: "x".into(), ..Ui::default() }), Some("ui.tokenFile"));
    }

    #[test]
    fn the_token_stands_next_to_the_socket_unless_told_otherwise() {
        let socket = Path::new("/run/sluice/sluice.sock");
        assert_eq!(Ui::default().token_path(socket), Path::new("/run/sluice/ui-token"));
        let own = Ui { token_file: "/etc/sluice/token".into(), ..Ui::default() };
        assert_eq!(own.token_path(socket), Path::new("/etc/sluice/token"));
    }
}
