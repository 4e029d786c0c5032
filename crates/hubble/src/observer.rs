//! The Observer service.

use crate::agent::{AgentLog, Stamped};
use crate::filter;
use crate::mask::Mask;
use crate::node::Node;
use crate::proto::observer::observer_server::Observer as Service;
use crate::proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, Namespace, Node as NodeInfo, ServerStatusRequest, ServerStatusResponse, Tls,
};
use crate::proto::relay::NodeState;
use crate::rate::Rate;
use crate::request::Range;
use crate::stream::{self, CHUNK, Chunk, Reader, Responses};
use crate::time;
use flowlog::Store;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Request, Response, Status};

/// Streams at a time, of all clients together; each takes a thread.
pub(crate) const MAX_STREAMS: usize = 32;

/// Records that are read for their namespaces: Hubble's largest ring.
const SCANNED: u64 = 65_536;

/// The service behind one listener. Clones share everything but the address.
#[derive(Clone)]
pub struct Observer {
    store: Arc<Store>,
    node: Arc<dyn Node>,
    agent: Arc<AgentLog>,
    pub(crate) rate: Arc<Rate>,
    streams: Arc<Semaphore>,
    address: String,
    tls: bool,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Observer {
    /// Over these records and events.
    #[must_use]
    pub fn new(store: Arc<Store>, node: Arc<dyn Node>, agent: Arc<AgentLog>) -> Self {
        Self {
            store,
            node,
            agent,
            rate: Arc::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            address: String::new(),
            tls: false,
        }
    }

    /// The same, as served at `address`.
    pub(crate) fn at(&self, address: String, tls: bool) -> Self {
        Self { address, tls, ..self.clone() }
    }

    /// Notes how many records there were, for the rate.
    pub(crate) fn note(&self) {
        self.rate.note(Instant::now(), self.store.total());
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let full =
            |_| Status::resource_exhausted(format!("{MAX_STREAMS} streams are served; try again later"));
        Arc::clone(&self.streams).try_acquire_owned().map_err(full)
    }

    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.node.uptime().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[tonic::async_trait]
impl Service for Observer {
    type GetFlowsStream = Responses<GetFlowsResponse>;
    type GetAgentEventsStream = Responses<GetAgentEventsResponse>;
    type GetDebugEventsStream = Responses<GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let request = request.into_inner();
        let range = Range::new(
            (request.number, request.first, request.follow),
            request.since.as_ref(),
            request.until.as_ref(),
        )?;
        let invalid = |error: &dyn std::error::Error| Status::invalid_argument(error.to_string());
        let wanted = filter::filters(&request.whitelist, &request.blacklist).map_err(|e| invalid(&e))?;
        let filters = wanted.compile().map_err(|e| invalid(&e))?;
        let mask = Mask::new(&paths(request)).map_err(|e| invalid(&e))?;
        let place = self.place()?;
        let (out, responses) = stream::channel();
        let (store, node) = (Arc::clone(&self.store), Arc::clone(&self.node));
        let reader = Reader { store, wanted, filters, range, mask, node, out };
        tokio::task::spawn_blocking(move || {
            let _place = place;
            reader.run();
        });
        Ok(Response::new(responses))
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let request = request.into_inner();
        let range = Range::new(
            (request.number, request.first, request.follow),
            request.since.as_ref(),
            request.until.as_ref(),
        )?;
        let place = self.place()?;
        let (out, responses) = stream::channel();
        let (log, node) = (Arc::clone(&self.agent), self.node.name().to_owned());
        tokio::task::spawn_blocking(move || {
            let _place = place;
            agent_events(&log, range, &node, &out);
        });
        Ok(Response::new(responses))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented(
            "there are no debug events: packets do not go through a data path in the kernel that makes them",
        ))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let (current, max) = self.store.len_and_capacity();
        let node = NodeInfo {
            name: self.node.name().to_owned(),
            version: self.node.version().to_owned(),
            address: self.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: Some(Tls { enabled: self.tls, server_name: String::new() }),
            uptime_ns: self.uptime_ns(),
            num_flows: current as u64,
            max_flows: max as u64,
            seen_flows: self.store.total(),
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let place = self.place()?;
        let (store, node) = (Arc::clone(&self.store), Arc::clone(&self.node));
        let listing = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut names: BTreeSet<String> = node.namespaces().into_iter().collect();
            names.extend(namespaces(&store));
            names.remove("");
            let one = |namespace| Namespace { cluster: node.cluster().to_owned(), namespace };
            names.into_iter().map(one).collect()
        });
        let namespaces = listing.await.map_err(|_| Status::internal("listing namespaces failed"))?;
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let (current, max) = self.store.len_and_capacity();
        let total = self.store.total();
        Ok(Response::new(ServerStatusResponse {
            num_flows: current as u64,
            max_flows: max as u64,
            seen_flows: total,
            uptime_ns: self.uptime_ns(),
            num_connected_nodes: Some(1),
            num_unavailable_nodes: Some(0),
            unavailable_nodes: Vec::new(),
            version: self.node.version().to_owned(),
            flows_rate: self.rate.per_second(Instant::now(), total),
        }))
    }
}

/// The mask of a request: where clients put it now, else where older ones did.
fn paths(request: GetFlowsRequest) -> Vec<String> {
    let now = request.field_mask.map(|mask| mask.paths).unwrap_or_default();
    if !now.is_empty() {
        return now;
    }
    #[expect(deprecated, reason = "released clients send it")]
    let older = request.experimental.and_then(|experimental| experimental.field_mask);
    older.map(|mask| mask.paths).unwrap_or_default()
}

/// Namespaces that the newest records in memory are about.
fn namespaces(store: &Store) -> BTreeSet<String> {
    let (mut found, mut cursor, end) = (BTreeSet::new(), store.last(SCANNED), store.newest());
    while cursor < end {
        for record in store.read(&mut cursor).records {
            for end in [&record.source, &record.destination].into_iter().flatten() {
                if !found.contains(&end.namespace) {
                    found.insert(end.namespace.clone());
                }
            }
        }
    }
    found
}

/// Sends events until there are no more, or nobody to take them.
fn agent_events(log: &AgentLog, range: Range, node: &str, out: &mpsc::Sender<Chunk<GetAgentEventsResponse>>) {
    let response = |stamped: &Stamped| {
        Ok(GetAgentEventsResponse {
            agent_event: Some(stamped.to_proto()),
            node_name: node.to_owned(),
            time: Some(time::to_proto(stamped.time)),
        })
    };
    log.show(&range, |events| {
        let mut chunks = events.chunks(CHUNK).map(|chunk| chunk.iter().map(response).collect());
        let sent = chunks.all(|chunk| out.blocking_send(chunk).is_ok());
        if sent && !out.is_closed() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
}
