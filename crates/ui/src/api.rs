//! What the page asks for, and how every answer is dressed.

use crate::assets;
use crate::explain::Explanation;
use crate::feed::{Feed, FeedStatus};
use crate::guard::{Guard, Refusal};
use crate::map::{self, NamespaceView};
use crate::node::Node;
use crate::past;
use crate::query::{self, Query, QueryError};
use crate::row::FlowRow;
use crate::stream;
use axum::extract::{DefaultBodyLimit, Query as Parameters, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flowlog::Record;
use flowlog::record::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Largest body of a request: a token.
const MAX_BODY: usize = 4 << 10;

/// Rows in one answer at most, and unless asked for.
const MAX_ROWS: u64 = 1000;
const ROWS: u64 = 300;

/// Records that a suggestion is made of at most.
const MAX_EVIDENCE: usize = 500;

/// How long the node may take to answer.
const NODE_PATIENCE: Duration = Duration::from_secs(10);

/// Wait after a wrong token.
const WRONG: Duration = Duration::from_millis(250);

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) feed: Arc<Feed>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) node_name: Arc<str>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) work: Arc<Semaphore>,
}

/// The answer of `/api/flows`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Flows {
    /// Rows, newest first.
    pub rows: Vec<FlowRow>,
    /// What to go on from with the stream.
    pub end: u64,
    /// Records that were looked at.
    pub searched: usize,
    /// Whether they come from the history too.
    pub kept: bool,
    /// Whether there was no time to look at all of it.
    pub cut: bool,
}

/// The answer of `/api/status`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Name of this node.
    pub node_name: String,
    /// What went through the map.
    pub feed: FeedStatus,
    /// Namespaces that were seen.
    pub namespaces: Vec<NamespaceView>,
    /// Nodes, edges and L7 endpoints of the map, and the most there can be.
    pub sizes: [usize; 3],
    pub limits: [usize; 3],
}

/// The body of a login.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// An error as the page gets it.
#[derive(Debug)]
pub(crate) struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (status, text) = match refusal {
            Refusal::NoToken => {
                (StatusCode::UNAUTHORIZED, "a token is needed; `sluice ui` prints the address with it")
            }
            Refusal::Host => (StatusCode::FORBIDDEN, "this host name is not served here; see ui.hosts"),
            Refusal::Origin => (StatusCode::FORBIDDEN, "requests from other sites are refused"),
        };
        Self(status, text.into())
    }
}

impl Failure {
    pub(crate) fn busy(text: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, text.into())
    }
}

type Given = Parameters<Vec<(String, String)>>;

pub(crate) fn router(app: App) -> Router {
    let inside = Router::new()
        .route("/status", get(status))
        .route("/map", get(service_map))
        .route("/flows", get(flows))
        .route("/flow", get(flow))
        .route("/explain", get(explain))
        .route("/suggest", get(suggest))
        .route("/node", get(node_status))
        .route("/stream", get(stream::stream))
        .route_layer(middleware::from_fn_with_state(app.clone(), only_known));
    let api = Router::new()
        .route("/session", post(log_in).delete(log_out))
        .merge(inside)
        .fallback(|| async { Failure(StatusCode::NOT_FOUND, "no such question".into()) })
        .layer(middleware::from_fn(only_from_here));
    Router::new()
        .nest("/api", api)
        .fallback(get(assets::serve))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), dress))
        .with_state(app)
}

/// First and last on the way of every request: is it for this host, and what the browser must heed.
async fn dress(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = match app.guard.host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Failure::from(refusal).into_response(),
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn only_from_here(request: Request, next: Next) -> Response {
    match Guard::origin(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Failure::from(refusal).into_response(),
    }
}

async fn only_known(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.guard.known(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Failure::from(refusal).into_response(),
    }
}

async fn log_in(
    State(app): State<App>,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response, Failure> {
    match app.guard.begin(&login.token, &headers) {
        Ok(cookie) => {
            let value = HeaderValue::from_str(&cookie)
                .map_err(|_| Failure(StatusCode::BAD_REQUEST, "no cookie".into()))?;
            Ok(([(SET_COOKIE, value)], Json(json!({}))).into_response())
        }
        Err(refusal) => {
            tokio::time::sleep(WRONG).await;
            Err(refusal.into())
        }
    }
}

async fn log_out(State(app): State<App>, headers: HeaderMap) -> Response {
    let cookie = HeaderValue::from_str(&app.guard.end(&headers));
    let mut response = Json(json!({})).into_response();
    if let Ok(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

impl App {
    pub(crate) fn status(&self) -> Status {
        let state = self.feed.lock();
        let (nodes, edges, endpoints) = state.map.sizes();
        Status {
            node_name: self.node_name.to_string(),
            feed: state.status,
            namespaces: state.map.namespaces(),
            sizes: [nodes, edges, endpoints],
            limits: [map::MAX_NODES, map::MAX_EDGES, map::MAX_ALL_ENDPOINTS],
        }
    }

    /// Asks the node, on a thread where that may take its time.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Node) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let busy = || Failure::busy("the node is busy with other questions; try again");
        let place = Arc::clone(&self.work).try_acquire_owned().map_err(|_| busy())?;
        let node = Arc::clone(&self.node);
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            question(node.as_ref())
        });
        match tokio::time::timeout(NODE_PATIENCE, work).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Failure::busy("the node did not answer in time")),
        }
    }

    /// The record that `uuid` or `edge` names; with `at`, its time, it is looked for in the history too.
    async fn example(&self, parameters: &[(String, String)]) -> Result<Arc<Record>, Failure> {
        let found = {
            let state = self.feed.lock();
            match (query::one(parameters, "uuid"), query::one(parameters, "edge")) {
                (Some(uuid), _) => state.recent.find(uuid),
                (None, Some(edge)) => state.map.example(edge),
                (None, None) => {
                    return Err(Failure(StatusCode::BAD_REQUEST, "name a flow (uuid) or an edge".into()));
                }
            }
        };
        let found = match (found, query::one(parameters, "uuid"), query::one(parameters, "at")) {
            (None, Some(uuid), Some(at)) => {
                let (uuid, at) = (uuid.to_owned(), query::moment(at)?);
                self.ask(move |node| past::find(node, uuid, at)).await?
            }
            (found, ..) => found,
        };
        found.ok_or_else(|| Failure(StatusCode::NOT_FOUND, "this flow is no longer remembered".into()))
    }
}

async fn status(State(app): State<App>) -> Json<Status> {
    Json(app.status())
}

async fn node_status(State(app): State<App>) -> Result<Json<Value>, Failure> {
    Ok(Json(app.ask(|node| node.status()).await?))
}

async fn service_map(
    State(app): State<App>,
    Parameters(given): Given,
) -> Result<Json<map::MapView>, Failure> {
    let since = query::number(&given, "since")?;
    let namespace = query::one(&given, "namespace").unwrap_or_default();
    Ok(Json(app.feed.lock().map.view(namespace, since)))
}

async fn flows(State(app): State<App>, Parameters(given): Given) -> Result<Json<Flows>, Failure> {
    let query = Query::read(&given, &["last"])?;
    let last = query::number(&given, "last")?.unwrap_or(ROWS).min(MAX_ROWS);
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    if query.is_of_the_past()
        && let Some(found) = app.ask(past::rows(query.clone(), last)).await?
    {
        return Ok(Json(found));
    }
    let (records, end) = {
        let state = app.feed.lock();
        (state.recent.since(0).0, state.recent.end())
    };
    let searched = records.len();
    let matching = records.iter().rev().filter(|(_, record)| query.matches(record));
    let rows = matching.take(last).map(|(seq, record)| FlowRow::new(*seq, record)).collect();
    Ok(Json(Flows { rows, end, searched, ..Flows::default() }))
}

async fn flow(State(app): State<App>, Parameters(given): Given) -> Result<Json<Record>, Failure> {
    Ok(Json(Record::clone(&*app.example(&given).await?)))
}

async fn explain(State(app): State<App>, Parameters(given): Given) -> Result<Json<Explanation>, Failure> {
    let record = app.example(&given).await?;
    let mut told = Explanation::of(&record);
    match app.ask(move |node| node.explain(&record)).await {
        Ok(Ok(sides)) => told.sides = sides,
        Ok(Err(why)) | Err(Failure(_, why)) => told.sides_error = why,
    }
    Ok(Json(told))
}

async fn suggest(State(app): State<App>, Parameters(given): Given) -> Result<Json<Value>, Failure> {
    let evidence = match query::one(&given, "uuid") {
        Some(_) => vec![app.example(&given).await?],
        None => evidence(&app, &given)?,
    };
    let count = evidence.len();
    let answer = app.ask(move |node| node.suggest(&evidence)).await?;
    let yaml = answer.map_err(|why| Failure(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(Json(json!({ "yaml": yaml, "flows": count })))
}

/// The records that a suggestion is to allow: those of an edge that were refused, or those that filters select.
fn evidence(app: &App, given: &[(String, String)]) -> Result<Vec<Arc<Record>>, Failure> {
    let refused = |record: &Record| matches!(record.verdict, Verdict::Dropped | Verdict::Audit);
    let edge = query::one(given, "edge").map(str::to_owned);
    let query = if edge.is_some() { Query::default() } else { Query::read(given, &[])? };
    let (records, example) = {
        let state = app.feed.lock();
        (state.recent.since(0).0, edge.as_deref().and_then(|edge| state.map.example(edge)))
    };
    let wanted = |record: &Record| match &edge {
        Some(edge) => refused(record) && map::edge_id(record).as_deref() == Some(edge),
        None => query.matches(record),
    };
    let found = records.iter().rev().map(|(_, record)| record).filter(|record| wanted(record));
    let mut found: Vec<_> = found.take(MAX_EVIDENCE).map(Arc::clone).collect();
    if let Some(example) = example.filter(|example| found.iter().all(|record| record.uuid != example.uuid)) {
        found.push(example);
    }
    if found.is_empty() {
        return Err(Failure(StatusCode::NOT_FOUND, "no flow to suggest a policy for is remembered".into()));
    }
    found.reverse();
    Ok(found)
}
