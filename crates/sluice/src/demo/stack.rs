//! The three-tier stack: its pods, its policies, and what must and must not work in it.

use super::conversation::{Conversation, Expect, Peer, Probe};
use crate::testbed::PodSpec;

/// Namespace of the application.
const APP: &str = "production";

/// The policy files of `configs/stacks/three-tier`, with the name each is written under.
pub(super) const POLICIES: &[(&str, &str)] = &[
    (
        "default-deny-all",
        include_str!("../../../../configs/stacks/three-tier/policies/default-deny-all.yaml"),
    ),
    (
        "allow-dns-lookup",
        include_str!("../../../../configs/stacks/three-tier/policies/allow-dns-lookup.yaml"),
    ),
    (
        "allow-frontend-to-api",
        include_str!("../../../../configs/stacks/three-tier/policies/allow-frontend-to-api.yaml"),
    ),
    (
        "allow-api-to-database",
        include_str!("../../../../configs/stacks/three-tier/policies/allow-api-to-database.yaml"),
    ),
    (
        "allow-monitoring-to-api",
        include_str!("../../../../configs/stacks/three-tier/policies/allow-monitoring-to-api.yaml"),
    ),
];

/// The pods, in the order of their addresses.
pub(super) fn pods() -> Vec<PodSpec> {
    let app = |name: &str| PodSpec::new(APP, name, &format!("app={name}"));
    vec![
        app("frontend"),
        app("api-service"),
        app("postgres-db"),
        app("monitoring-service"),
        app("recommendation-service"),
        PodSpec::new("kube-system", "kube-dns", "k8s-app=kube-dns"),
    ]
}

/// The conversations, in the order in which they are shown.
pub(super) fn conversations() -> Vec<Conversation> {
    use Expect::{Allowed, Dropped};
    let frontend = Peer::Pod("production/frontend");
    let api = Peer::Pod("production/api-service");
    let database = Peer::Pod("production/postgres-db");
    let monitoring = Peer::Pod("production/monitoring-service");
    let intruder = Peer::Pod("production/recommendation-service");
    let dns = Peer::Pod("kube-system/kube-dns");
    let get = |path| Probe::Http { port: 8080, path, ipv6: false };
    let get6 = |path| Probe::Http { port: 8080, path, ipv6: true };
    let talk = |from, to, probe, expect| Conversation { from, to, probe, expect };
    vec![
        talk(frontend, dns, Probe::Dns { tcp: false }, Allowed),
        talk(frontend, dns, Probe::Dns { tcp: true }, Dropped),
        talk(frontend, api, get("/api/v1/products"), Allowed),
        talk(frontend, api, get6("/api/v1/products"), Allowed),
        talk(api, database, Probe::Sql, Allowed),
        talk(monitoring, api, get("/api/v1/admin/metrics"), Allowed),
        talk(Peer::Node, api, get("/healthz"), Allowed),
        talk(frontend, database, Probe::Sql, Dropped),
        talk(monitoring, database, Probe::Sql, Dropped),
        talk(intruder, api, get("/api/v1/products"), Dropped),
        talk(intruder, api, get6("/api/v1/products"), Dropped),
        talk(intruder, database, Probe::Sql, Dropped),
        talk(api, frontend, get("/"), Dropped),
        talk(frontend, api, Probe::Ping, Dropped),
        talk(frontend, Peer::Outside, get("/"), Dropped),
        talk(dns, Peer::Outside, get("/"), Allowed),
    ]
}
