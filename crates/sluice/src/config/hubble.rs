//! Hubble's gRPC API: where it is served.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Hubble's gRPC API.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Hubble {
    /// Path of the Unix socket; empty: none.
    pub socket: PathBuf,
    /// Address and port; empty: none. Beyond the machine only with certificates on both sides.
    pub listen: String,
    /// Certificates for `listen`.
    pub tls: HubbleTls,
}

/// Certificates, as files in PEM.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HubbleTls {
    /// The node's certificate; empty: no TLS.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authority that clients' certificates must come from; empty: clients need none.
    #[serde(rename = "clientCA")]
    pub client_ca: PathBuf,
}

impl HubbleTls {
    /// Whether there is a certificate.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Whether clients must show one too.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.is_on() && !self.client_ca.as_os_str().is_empty()
    }
}

impl Hubble {
    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { listen, tls, .. } = self;
        if tls.is_on() == tls.key.as_os_str().is_empty() {
            return Err(("hubble.tls", "cert and key belong together; write both or neither".into()));
        }
        if !tls.is_on() && !tls.client_ca.as_os_str().is_empty() {
            return Err(("hubble.tls.clientCA", "needs hubble.tls.cert and hubble.tls.key".into()));
        }
        if listen.is_empty() {
            return if tls.is_on() {
                Err(("hubble.tls", "is for hubble.listen, which is empty; the Unix socket has no TLS".into()))
            } else {
                Ok(())
            };
        }
        let Some(address) = self.address() else {
            let wrong =
                format!("`{listen}` is no address and port; write one as in 127.0.0.1:4244 or [::1]:4244");
            return Err(("hubble.listen", wrong));
        };
        if !address.ip().is_loopback() && !tls.is_mutual() {
            let wrong = format!(
                "`{listen}` can be reached from other machines; set hubble.tls.cert, hubble.tls.key and \
                 hubble.tls.clientCA, so that only clients with a certificate of yours get in, or listen on loopback as \
                 in 127.0.0.1:4244"
            );
            return Err(("hubble.listen", wrong));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<(), (&'static str, String)> {
        serde_yaml::from_str::<Hubble>(yaml).expect("YAML").check()
    }

    #[test]
    fn what_may_be_reached_from_elsewhere_needs_certificates_on_both_sides() {
        let tls = "tls: {cert: c.pem, key: k.pem";
        for good in [
            "{}",
            "socket: /run/cilium/hubble.sock",
            "listen: '127.0.0.1:4244'",
            "listen: '[::1]:4244'",
            &format!("{{listen: '127.0.0.1:4244', {tls}}}}}"),
            &format!("{{listen: '0.0.0.0:4244', {tls}, clientCA: ca.pem}}}}"),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, key, word) in [
            ("listen: '0.0.0.0:4244'", "hubble.listen", "other machines"),
            ("listen: '[::]:4244'", "hubble.listen", "other machines"),
            ("listen: '10.0.0.1:4244'", "hubble.listen", "clientCA"),
            (&format!("{{listen: '0.0.0.0:4244', {tls}}}}}"), "hubble.listen", "clientCA"),
            ("listen: localhost:4244", "hubble.listen", "no address"),
            ("listen: ':4244'", "hubble.listen", "no address"),
            ("{listen: '127.0.0.1:1', tls: {cert: c.pem}}", "hubble.tls", "both or neither"),
            ("{listen: '127.0.0.1:1', tls: {key: k.pem}}", "hubble.tls", "both or neither"),
            ("{listen: '127.0.0.1:1', tls: {clientCA: a.pem}}", "hubble.tls.clientCA", "hubble.tls.cert"),
            (&format!("{{socket: /s, {tls}}}}}"), "hubble.tls", "empty"),
        ] {
            let (at, message) = check(bad).expect_err(bad);
            assert_eq!(at, key, "{bad}: {message}");
            assert!(message.contains(word), "{bad}: {message}");
        }
    }
}
