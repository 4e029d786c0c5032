//! A client of our own against the server: both ends of a stream, its limits and its ends.

use flowlog::api::{ObserveRequest, Past, Selection, Visit};
use flowlog::filter::FilterError;
use flowlog::record::{Endpoint, EventType, Record, Time, Verdict};
use flowlog::store::Cursor;
use flowlog::{Store, record};
use hubble::agent::{AgentEvent, AgentLog, Policy};
use hubble::proto::flow::{FlowFilter, LostEventSource};
use hubble::proto::observer::get_flows_response::ResponseTypes;
use hubble::proto::observer::observer_client::ObserverClient;
use hubble::proto::observer::{
    GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest,
    GetNodesRequest, ServerStatusRequest,
};
use hubble::{Listener, Node, Observer, Server, Tls};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Target, Identity};
use tonic::{Code, Streaming};

/// Beyond every wait.
const LIMIT: Duration = Duration::from_secs(30);

/// What was pushed, also what memory has lost.
#[derive(Default)]
struct Book(Mutex<Vec<Arc<Record>>>);

impl Past for Book {
    fn read(
        &self,
        request: &ObserveRequest,
        stop: &dyn Fn() -> bool,
        visit: Visit<'_>,
    ) -> Result<Cursor, FilterError> {
        let selection = Selection::new(request)?;
        let all = self.0.lock().expect("whole").clone();
        let mut wanted: Vec<_> = all.iter().filter(|record| selection.matches(record)).collect();
        let count = |n: Option<u64>| n.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        wanted.drain(..wanted.len().saturating_sub(count(request.last)));
        wanted.truncate(count(request.first));
        for record in wanted {
            if stop() || visit(Arc::clone(record)).is_break() {
                break;
            }
        }
        Ok(Cursor::at(all.len() as u64))
    }

    fn newest(&self, _: &ObserveRequest, _: &dyn Fn() -> bool, _: Visit<'_>) -> Result<(), FilterError> {
        unreachable!("clients read oldest first")
    }
}

#[derive(Default)]
struct ANode(Option<Arc<Book>>);

impl Node for ANode {
    fn name(&self) -> &str {
        "node-1"
    }
    fn cluster(&self) -> &str {
        "east"
    }
    fn version(&self) -> &str {
        "sluice 1"
    }
    fn uptime(&self) -> Duration {
        Duration::from_secs(5)
    }
    fn namespaces(&self) -> Vec<String> {
        vec!["quiet".into()]
    }
    fn past(&self) -> Option<&dyn Past> {
        self.0.as_deref().map(|book| book as _)
    }
}

struct Lab {
    book: Option<Arc<Book>>,
    store: Arc<Store>,
    agent: Arc<AgentLog>,
    folder: TempDir,
    server: Option<Server>,
}

fn record(n: u32) -> Record {
    let end =
        |name: &str| Endpoint { namespace: "shop".into(), pod_name: name.into(), ..Endpoint::default() };
    Record {
        time: Some(Time::from_nanos(1_000_000_000 * i128::from(n))),
        uuid: n.to_string(),
        verdict: if n.is_multiple_of(2) { Verdict::Forwarded } else { Verdict::Dropped },
        source: Some(end("cart")),
        destination: Some(end("payments")),
        event_type: Some(EventType { kind: record::message_type::TRACE, sub_type: 0 }),
        ..Record::default()
    }
}

impl Lab {
    fn new(capacity: usize) -> Self {
        Self::with(capacity, None)
    }

    fn with(capacity: usize, book: Option<Arc<Book>>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Arc::new(Store::new(capacity));
        let agent = Arc::new(AgentLog::default());
        let observer = Observer::new(Arc::clone(&store), Arc::new(ANode(book.clone())), Arc::clone(&agent));
        let socket = UnixListener::bind(folder.path().join("s")).expect("a socket");
        let server = hubble::start(vec![Listener::Unix(socket)], &observer).expect("a server");
        Self { book, store, agent, folder, server: Some(server) }
    }

    fn push(&self, numbers: std::ops::Range<u32>) {
        for n in numbers {
            self.store.push(record(n));
            let kept = self.book.iter().map(|book| book.0.lock().expect("whole"));
            kept.for_each(|mut records| records.push(Arc::new(record(n))));
        }
    }

    async fn client(&self) -> ObserverClient<Channel> {
        let path = format!("unix://{}", self.folder.path().join("s").display());
        let target = Target::from_shared(path).expect("a target");
        ObserverClient::new(target.connect().await.expect("connected"))
    }
}

fn uuid(response: &GetFlowsResponse) -> Option<u32> {
    match response.response_types.as_ref() {
        Some(ResponseTypes::Flow(flow)) => flow.uuid.parse().ok(),
        _ => None,
    }
}

async fn next(stream: &mut Streaming<GetFlowsResponse>) -> Option<GetFlowsResponse> {
    timeout(LIMIT, stream.message()).await.expect("in time").expect("a response")
}

async fn numbers(client: &mut ObserverClient<Channel>, request: GetFlowsRequest) -> Vec<u32> {
    let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
    let mut found = Vec::new();
    while let Some(response) = next(&mut stream).await {
        found.push(uuid(&response).expect("a flow"));
    }
    found
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

#[tokio::test]
async fn history_is_what_was_asked_for() {
    // More than one batch of the store, and a ring that has gone round.
    let lab = Lab::new(2000);
    lab.push(0..3000);
    let mut client = lab.client().await;
    let all = GetFlowsRequest::default();
    let dropped = vec![FlowFilter { verdict: vec![2], ..FlowFilter::default() }.into()];
    let odd = |range: std::ops::Range<u32>| range.filter(|n| n % 2 == 1).collect::<Vec<_>>();
    let cases = [
        ("all", all.clone(), (1000..3000).collect::<Vec<_>>()),
        ("last", GetFlowsRequest { number: 3, ..all.clone() }, vec![2997, 2998, 2999]),
        ("last of many", GetFlowsRequest { number: 1500, ..all.clone() }, (1500..3000).collect()),
        ("more than there are", GetFlowsRequest { number: u64::MAX, ..all.clone() }, (1000..3000).collect()),
        ("first", GetFlowsRequest { number: 3, first: true, ..all.clone() }, vec![1000, 1001, 1002]),
        ("since", GetFlowsRequest { since: at(2990), ..all.clone() }, (2990..3000).collect()),
        ("since, so many", GetFlowsRequest { since: at(2990), number: 2, ..all.clone() }, vec![2990, 2991]),
        ("until", GetFlowsRequest { until: at(1002), ..all.clone() }, vec![1000, 1001, 1002]),
        ("last until", GetFlowsRequest { until: at(1002), number: 2, ..all.clone() }, vec![1001, 1002]),
        ("range", GetFlowsRequest { since: at(1500), until: at(1501), ..all.clone() }, vec![1500, 1501]),
        ("dropped", GetFlowsRequest { whitelist: dropped.clone(), ..all.clone() }, odd(1000..3000)),
        (
            "last dropped",
            GetFlowsRequest { whitelist: dropped.clone(), number: 600, ..all.clone() },
            odd(1800..3000),
        ),
        ("not dropped", GetFlowsRequest { blacklist: dropped, number: 2, ..all.clone() }, vec![2996, 2998]),
    ];
    for (name, request, expected) in cases {
        assert_eq!(numbers(&mut client, request).await, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_kept_is_told_where_memory_has_it_no_more() {
    let lab = Lab::with(100, Some(Arc::default()));
    lab.push(0..1000);
    let mut client = lab.client().await;
    let all = GetFlowsRequest::default();
    let dropped = vec![FlowFilter { verdict: vec![2], ..FlowFilter::default() }.into()];
    let cases = [
        ("all", all.clone(), (0..1000).collect::<Vec<_>>()),
        ("last", GetFlowsRequest { number: 150, ..all.clone() }, (850..1000).collect()),
        ("first", GetFlowsRequest { number: 3, first: true, ..all.clone() }, vec![0, 1, 2]),
        ("since, so many", GetFlowsRequest { since: at(10), number: 2, ..all.clone() }, vec![10, 11]),
        ("range", GetFlowsRequest { since: at(850), until: at(851), ..all.clone() }, vec![850, 851]),
        (
            "last dropped",
            GetFlowsRequest { whitelist: dropped.clone(), number: 2, until: at(20), ..all.clone() },
            vec![17, 19],
        ),
        ("not dropped", GetFlowsRequest { blacklist: dropped, until: at(4), ..all.clone() }, vec![0, 2, 4]),
    ];
    for (name, request, expected) in cases {
        assert_eq!(numbers(&mut client, request).await, expected, "{name}");
    }
    // Who follows gets what is kept, then what comes, each once.
    let request = GetFlowsRequest { since: at(850), follow: true, ..all };
    let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
    for n in 850..1000 {
        assert_eq!(next(&mut stream).await.as_ref().and_then(uuid), Some(n));
    }
    lab.push(1000..1010);
    lab.store.close();
    for n in 1000..1010 {
        assert_eq!(next(&mut stream).await.as_ref().and_then(uuid), Some(n));
    }
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_follower_sees_what_comes_and_ends_with_the_log() {
    let lab = Lab::new(1000);
    lab.push(0..10);
    let mut client = lab.client().await;
    let follow = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut news = client.get_flows(follow.clone()).await.expect("a stream").into_inner();
    let request = GetFlowsRequest { number: 2, ..follow };
    let mut both = client.get_flows(request).await.expect("a stream").into_inner();
    // The two of before are the sign that this reader is there.
    for n in [8, 9] {
        assert_eq!(next(&mut both).await.as_ref().and_then(uuid), Some(n));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab.push(10..12);
    for stream in [&mut news, &mut both] {
        for n in [10, 11] {
            assert_eq!(next(stream).await.as_ref().and_then(uuid), Some(n));
        }
    }
    lab.store.close();
    assert_eq!((next(&mut news).await, next(&mut both).await), (None, None));
}

#[tokio::test]
async fn a_slow_follower_is_told_what_it_lost() {
    let lab = Lab::new(500);
    let mut client = lab.client().await;
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Far more than what fits between server and client, while the client does not read.
    let total = 60_000;
    for start in (0..total).step_by(1000) {
        lab.push(start..start + 1000);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    lab.store.close();
    let (mut seen, mut lost, mut last) = (0_u64, 0_u64, None);
    while let Some(response) = next(&mut stream).await {
        match response.response_types {
            Some(ResponseTypes::LostEvents(event)) => {
                assert_eq!(event.source(), LostEventSource::HubbleRingBuffer);
                lost += event.num_events_lost;
            }
            _ => {
                let n = uuid(&response).expect("a flow");
                assert!(last < Some(n), "{last:?} then {n}");
                (seen, last) = (seen + 1, Some(n));
            }
        }
    }
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    assert_eq!((seen + lost, last), (u64::from(total), Some(total - 1)));
}

#[tokio::test]
async fn what_the_packet_path_shed_is_told_to_followers() {
    let lab = Lab::new(10);
    lab.store.add_lost(100);
    let mut client = lab.client().await;
    let request = GetFlowsRequest { follow: true, number: 1, ..GetFlowsRequest::default() };
    lab.push(0..1);
    let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
    assert_eq!(next(&mut stream).await.as_ref().and_then(uuid), Some(0));
    lab.store.add_lost(7);
    let Some(ResponseTypes::LostEvents(event)) = next(&mut stream).await.expect("news").response_types else {
        panic!("not what was expected");
    };
    assert_eq!((event.source(), event.num_events_lost), (LostEventSource::PerfEventRingBuffer, 7));
}

#[tokio::test]
async fn streams_are_limited_and_a_place_is_free_when_a_client_goes() {
    let lab = Lab::new(10);
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let (mut streams, mut clients) = (Vec::new(), Vec::new());
    let refused = loop {
        // A connection takes sixteen requests at a time.
        if streams.len() % 16 == 0 {
            clients.push(lab.client().await);
        }
        let client: &mut ObserverClient<Channel> = clients.last_mut().expect("a client");
        match client.get_flows(request.clone()).await {
            Ok(stream) => streams.push(stream.into_inner()),
            Err(status) => break status,
        }
        assert!(streams.len() < 100, "no limit");
    };
    assert_eq!((refused.code(), streams.len()), (Code::ResourceExhausted, 32));
    streams.pop();
    let started = Instant::now();
    // The last connection, which has room.
    let mut client = clients.pop().expect("a client");
    while client.get_flows(request.clone()).await.is_err() {
        assert!(started.elapsed() < LIMIT, "the place is never free again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_streams() {
    let mut lab = Lab::new(10);
    let mut client = lab.client().await;
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
    let server = lab.server.take();
    let started = Instant::now();
    tokio::task::spawn_blocking(move || drop(server)).await.expect("dropped");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let end = timeout(LIMIT, stream.message()).await.expect("in time");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
}

#[tokio::test]
async fn masks_and_refusals() {
    let lab = Lab::new(10);
    lab.push(0..1);
    let mut client = lab.client().await;
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    #[expect(deprecated, reason = "released clients send it")]
    let experimental = hubble::proto::observer::get_flows_request::Experimental { field_mask: mask("uuid") };
    let requests = [
        GetFlowsRequest { field_mask: mask("uuid"), ..GetFlowsRequest::default() },
        GetFlowsRequest { experimental: Some(experimental), ..GetFlowsRequest::default() },
    ];
    for request in requests {
        let mut stream = client.get_flows(request).await.expect("a stream").into_inner();
        let response = next(&mut stream).await.expect("a flow");
        let expected = hubble::proto::flow::Flow { uuid: "0".into(), ..Default::default() };
        assert_eq!(response.response_types, Some(ResponseTypes::Flow(expected)));
        assert_eq!((response.node_name.as_str(), response.time), ("node-1", at(0)));
    }
    let bad = [
        (GetFlowsRequest { field_mask: mask("sauce"), ..GetFlowsRequest::default() }, "sauce"),
        (GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() }, "follow"),
        (
            GetFlowsRequest {
                whitelist: vec![FlowFilter { verdict: vec![99], ..FlowFilter::default() }.into()],
                ..GetFlowsRequest::default()
            },
            "whitelist[0].verdict: 99",
        ),
    ];
    for (request, word) in bad {
        let status = client.get_flows(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(word), "{}", status.message());
    }
    let status = client.get_debug_events(GetDebugEventsRequest::default()).await.expect_err("not served");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_server_tells_about_itself() {
    let lab = Lab::new(3);
    lab.push(0..5);
    let mut client = lab.client().await;
    let status = client.server_status(ServerStatusRequest {}).await.expect("a status").into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (3, 3, 5));
    assert_eq!((status.uptime_ns, status.num_connected_nodes), (5_000_000_000, Some(1)));
    assert_eq!((status.version.as_str(), status.num_unavailable_nodes), ("sluice 1", Some(0)));
    let nodes = client.get_nodes(GetNodesRequest {}).await.expect("nodes").into_inner().nodes;
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    assert_eq!((node.name.as_str(), node.state, node.seen_flows), ("node-1", 1, 5));
    assert!(node.address.starts_with("unix:///"), "{}", node.address);
    let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.expect("namespaces").into_inner();
    let names: Vec<_> = namespaces.namespaces.iter().map(|n| (&*n.cluster, &*n.namespace)).collect();
    assert_eq!(names, [("east", "quiet"), ("east", "shop")]);
}

#[tokio::test]
async fn agent_events_are_listed_and_followed() {
    let lab = Lab::new(3);
    let policy = |n| AgentEvent::PolicyUpdated(Policy { rules: n, ..Policy::default() });
    lab.agent.extend((0..5).map(policy));
    let mut client = lab.client().await;
    let rules = |response: Option<hubble::proto::observer::GetAgentEventsResponse>| {
        use hubble::proto::flow::agent_event::Notification;
        match response?.agent_event?.notification? {
            Notification::PolicyUpdate(update) => Some(update.rule_count),
            _ => None,
        }
    };
    let all = GetAgentEventsRequest::default();
    for (request, expected) in [
        (all, vec![0, 1, 2, 3, 4]),
        (GetAgentEventsRequest { number: 2, ..all }, vec![3, 4]),
        (GetAgentEventsRequest { number: 2, first: true, ..all }, vec![0, 1]),
        (GetAgentEventsRequest { until: at(0), ..all }, vec![]),
    ] {
        let mut stream = client.get_agent_events(request).await.expect("a stream").into_inner();
        let mut found = Vec::new();
        while let Some(n) = rules(stream.message().await.expect("a response")) {
            found.push(n);
        }
        assert_eq!(found, expected);
    }
    let request = GetAgentEventsRequest { number: 1, follow: true, ..all };
    let mut stream = client.get_agent_events(request).await.expect("a stream").into_inner();
    assert_eq!(rules(stream.message().await.expect("a response")), Some(4));
    lab.agent.push(policy(9));
    let news = timeout(LIMIT, stream.message()).await.expect("in time").expect("a response");
    assert_eq!(rules(news), Some(9));
}

/// An authority and what it vouches for: its certificate, then certificate and key of the name.
fn certificates(name: &str) -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let cert = params.signed_by(&key, &authority).expect("a certificate");
    (authority.pem(), cert.pem(), key.serialize_pem())
}

#[tokio::test]
async fn over_tcp_only_clients_with_a_certificate_of_ours_get_in() {
    let (authority, cert, key) = certificates("node.example");
    let (client_ca, client_cert, client_key) = certificates("operator");
    let (_, stranger_cert, stranger_key) = certificates("stranger");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let store = Arc::new(Store::new(3));
    let observer = Observer::new(store, Arc::new(ANode::default()), Arc::default());
    let tls = Tls { cert, key, client_ca: Some(client_ca) };
    let _server = hubble::start(vec![Listener::Tcp(listener, Some(tls))], &observer).expect("a server");
    let ask = async |identity: Option<Identity>| {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&authority))
            .domain_name("node.example");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let target = Target::from_shared(format!("https://127.0.0.1:{port}")).expect("a target");
        let channel =
            target.tls_config(tls).expect("TLS").connect().await.map_err(|error| error.to_string())?;
        let nodes = ObserverClient::new(channel).get_nodes(GetNodesRequest {}).await;
        nodes.map(|nodes| nodes.into_inner().nodes).map_err(|status| status.to_string())
    };
    let nodes = ask(Some(Identity::from_pem(client_cert, client_key))).await.expect("let in");
    assert_eq!(nodes[0].tls.as_ref().map(|tls| tls.enabled), Some(true));
    assert!(ask(None).await.is_err(), "without a certificate");
    assert!(ask(Some(Identity::from_pem(stranger_cert, stranger_key))).await.is_err(), "another authority's");
}

#[test]
fn a_certificate_that_is_none_is_an_error_at_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let observer = Observer::new(Arc::new(Store::new(3)), Arc::new(ANode::default()), Arc::default());
    let tls = Tls { cert: "no".into(), key: "no".into(), client_ca: None };
    let error = hubble::start(vec![Listener::Tcp(listener, Some(tls))], &observer).expect_err("not PEM");
    assert!(error.to_string().starts_with("TLS: "), "{error}");
}
