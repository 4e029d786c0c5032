//! The three-tier stack and the payments API: their pods, their policies, and what must and must not work in them.

use super::conversation::{Conversation, Expect, Peer, Probe};
use crate::testbed::PodSpec;

/// Namespace of the application.
const APP: &str = "production";

/// What is asked of the APIs.
const PRODUCTS: (&str, &str) = ("GET", "/api/v1/products");
/// See [`PRODUCTS`].
const METRICS: (&str, &str) = ("GET", "/api/v1/admin/metrics");
/// See [`PRODUCTS`].
const READ: (&str, &str) = ("GET", "/api/v1/charges");
/// See [`PRODUCTS`].
const CHARGE: (&str, &str) = ("POST", "/api/v1/charges");
/// See [`PRODUCTS`].
const REFUND: (&str, &str) = ("POST", "/api/v1/refunds");

/// The policy files of `configs/stacks/three-tier` and `configs/stacks/payments`, with the name each is written under.
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
    (
        "payment-to-stripe",
        include_str!("../../../../configs/stacks/three-tier/policies/payment-to-stripe.yaml"),
    ),
    ("payments-api", include_str!("../../../../configs/stacks/payments/policies/payments-api.yaml")),
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
        app("payment-service"),
        PodSpec::new("payments", "payments-api", "app=payments-api"),
        PodSpec::new("web", "frontend-app", "app=frontend-app"),
        PodSpec::new("data", "analytics-service", "app=analytics-service"),
        PodSpec::new("ops", "finance-tool", "app=finance-tool"),
        PodSpec::new("web", "stranger", "app=stranger"),
    ]
}

/// The name outside that a policy lets a pod talk to, at an address that the demo makes up.
pub(super) const OUTSIDE_NAME: &str = "api.stripe.com";

/// The conversations, in the order in which they are shown.
pub(super) fn conversations() -> Vec<Conversation> {
    use Expect::{Allowed, Dropped, Statuses};
    let frontend = Peer::Pod("production/frontend");
    let api = Peer::Pod("production/api-service");
    let database = Peer::Pod("production/postgres-db");
    let monitoring = Peer::Pod("production/monitoring-service");
    let intruder = Peer::Pod("production/recommendation-service");
    let payment = Peer::Pod("production/payment-service");
    let dns = Peer::Pod("kube-system/kube-dns");
    let get = |requests| Probe::Http { port: 8080, requests, ipv6: false };
    let get6 = |requests| Probe::Http { port: 8080, requests, ipv6: true };
    let talk = |from, to, probe, expect| Conversation { from, to, probe, expect };
    let mut all = vec![
        talk(frontend, dns, Probe::Dns { tcp: false }, Allowed),
        talk(frontend, dns, Probe::Dns { tcp: true }, Dropped),
        talk(frontend, api, get(&[PRODUCTS]), Statuses(&[200])),
        talk(frontend, api, get6(&[PRODUCTS]), Statuses(&[200])),
        talk(
            frontend,
            api,
            get(&[PRODUCTS, METRICS, ("POST", "/api/v1/orders")]),
            Statuses(&[200, 403, 200]),
        ),
        talk(api, database, Probe::Sql, Allowed),
        talk(monitoring, api, get(&[METRICS, PRODUCTS]), Statuses(&[200, 403])),
        talk(Peer::Node, api, get(&[("GET", "/healthz")]), Statuses(&[200])),
        talk(frontend, database, Probe::Sql, Dropped),
        talk(monitoring, database, Probe::Sql, Dropped),
        talk(intruder, api, get(&[PRODUCTS]), Dropped),
        talk(intruder, api, get6(&[PRODUCTS]), Dropped),
        talk(intruder, database, Probe::Sql, Dropped),
        talk(api, frontend, get(&[("GET", "/")]), Dropped),
        talk(frontend, api, Probe::Ping, Dropped),
        talk(frontend, Peer::Outside, get(&[("GET", "/")]), Dropped),
        talk(dns, Peer::Outside, get(&[("GET", "/")]), Statuses(&[200])),
    ];
    // Its address, before anybody asked for the name, and when somebody has.
    let stripe = |probe, expect| talk(payment, Peer::Outside, probe, expect);
    let pay = &[("POST", "/v1/charges")];
    all.push(stripe(Probe::Http { port: 443, requests: pay, ipv6: false }, Dropped));
    all.push(stripe(Probe::Named { name: OUTSIDE_NAME, port: 443, requests: pay }, Statuses(&[200])));
    all.extend(payments());
    all
}

/// One API and four who ask it the same; all that one of them asks goes over one connection.
fn payments() -> Vec<Conversation> {
    let peers = [
        ("web/frontend-app", Expect::Statuses(&[200, 200, 403])),
        ("data/analytics-service", Expect::Statuses(&[200, 403, 403])),
        ("ops/finance-tool", Expect::Statuses(&[403, 403, 200])),
        ("web/stranger", Expect::Dropped),
    ];
    let all = Probe::Http { port: 8080, requests: &[READ, CHARGE, REFUND], ipv6: false };
    let to = Peer::Pod("payments/payments-api");
    // Who may not connect asks once.
    let once = Probe::Http { port: 8080, requests: &[READ], ipv6: false };
    let probe = |expect| if expect == Expect::Dropped { once } else { all };
    peers
        .map(|(from, expect)| Conversation { from: Peer::Pod(from), to, probe: probe(expect), expect })
        .into()
}
