//! A search server in this process that keeps documents as a real one would and fails by script.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What happens to one bulk request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Every second item is put off with this status.
    Items(u16),
    /// This status for the request.
    Request(u16),
    /// The connection ends before anything is done.
    ResetBefore,
    /// Everything is done, then the connection ends.
    ResetAfter,
    /// Everything is done, half of the answer is sent.
    Truncated,
    /// The answer comes in small pieces.
    Drip,
    /// There is never an answer.
    Stall,
    /// One item is refused for good.
    Rejected,
    /// Everything is done, the stream rolls over, then the connection ends.
    ResetAfterRollover,
    /// This status for the request, then the stream rolls over.
    RequestThenRollover(u16),
    /// Every second item is put off with this status, then the stream rolls over.
    ItemsThenRollover(u16),
}

/// What is wrong with one answer to the question which documents are there, or how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    /// A shard fails to refresh, so searches do not see what is new in it.
    Refresh,
    /// A shard fails to search, or to count.
    Search,
    /// It took too long.
    TimedOut,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Documents by stream and id.
    pub(super) documents: BTreeMap<String, BTreeMap<String, Value>>,
    /// Names of templates with what was installed.
    pub(super) templates: BTreeMap<String, Value>,
    /// One per bulk request, then none.
    pub(super) faults: VecDeque<Fault>,
    /// Items that were there already.
    pub(super) repeats: usize,
    /// Largest inflated bulk request that is taken.
    pub(super) limit: Option<usize>,
    /// Largest inflated bulk request that does not make the server busy.
    pub(super) busy_above: Option<usize>,
    /// The `authorization` that is taken.
    pub(super) authorization: Option<String>,
    /// Whether mappings may have histograms.
    pub(super) histograms: bool,
    /// What no template may have.
    pub(super) unknown: &'static [&'static str],
    /// Bulk requests.
    pub(super) bulks: usize,
    /// Ids in backing indices that are not written any more, by stream, one set for each index.
    pub(super) sealed: BTreeMap<String, Vec<BTreeSet<String>>>,
    /// Documents that are in two backing indices.
    pub(super) doubled: usize,
    /// One per refresh or search that it fits, then none.
    pub(super) partial: VecDeque<Partial>,
    /// Whether a shard was not refreshed.
    stale: bool,
    /// Whether the right `view_index_metadata` is missing.
    pub(super) blind: bool,
}

/// Answers until it is dropped.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn on(listener: TcpListener) -> Self {
        let state = State {
            histograms: true,
            unknown: &[],
            ..State::default()
        };
        Self::with_state(listener, Arc::new(Mutex::new(state)))
    }

    fn with_state(listener: TcpListener, state: Arc<Mutex<State>>) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state, task }
    }

    /// Gone with all of its connections, then there again with what it has, in the same place.
    pub(super) async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        let address = self.url.trim_start_matches("http://");
        let listener = TcpListener::bind(address).await.unwrap();
        let again = Self::with_state(listener, self.state.clone());
        *self = again;
    }

    pub(super) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults = faults.into_iter().collect();
    }

    pub(super) fn count(&self, stream: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .documents
            .get(stream)
            .map_or(0, BTreeMap::len)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Request {
    line: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

enum Reply {
    Whole(u16, String),
    Half(String),
    Pieces(String),
    Silence,
    Nothing,
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut bytes = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut bytes).await {
        let reply = answer(&request, &mut state.lock().unwrap());
        let head = |status, len| {
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
                 content-length: {len}\r\n\r\n"
            )
        };
        let text = match reply {
            Reply::Whole(status, body) => head(status, body.len()) + &body,
            Reply::Half(body) => head(200, body.len()) + &body[..body.len() / 2],
            Reply::Pieces(body) => {
                let text = head(200, body.len()) + &body;
                for piece in text.as_bytes().chunks(512) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                continue;
            }
            Reply::Silence => return std::future::pending().await,
            Reply::Nothing => return,
        };
        let cut = !text.ends_with(['}', '\n']);
        if stream.write_all(text.as_bytes()).await.is_err() || cut {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut body = bytes[head_end..head_end + length].to_vec();
    bytes.drain(..head_end + length);
    if header("content-encoding").as_deref() == Some("gzip") {
        assert_eq!(
            header("content-type").as_deref(),
            Some("application/x-ndjson")
        );
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(body.as_slice())
            .read_to_end(&mut inflated)
            .unwrap();
        body = inflated;
    }
    let line = head.lines().next().unwrap().to_owned();
    Some(Request {
        line,
        authorization: header("authorization"),
        body,
    })
}

fn answer(request: &Request, state: &mut State) -> Reply {
    let whole = |status, body: Value| Reply::Whole(status, body.to_string());
    let mut words = request.line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    if state.authorization.is_some() && state.authorization != request.authorization {
        return whole(401, json!({"error": "who are you"}));
    }
    if let Some(name) = path.strip_prefix("/_index_template/") {
        return template(method, name, request, state);
    }
    if let Some(stream) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/_bulk"))
    {
        return bulk(stream, request, state);
    }
    if let Some(stream) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/_refresh"))
    {
        return refresh(stream, state);
    }
    if let Some(stream) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/_count"))
    {
        let failed = state.partial.pop_front_if(|next| *next == Partial::Search);
        let count = state.documents.get(stream).map_or(0, BTreeMap::len);
        let counted = if failed.is_some() { 0 } else { count };
        return shards(failed.is_some(), &json!({"count": counted}));
    }
    if let Some(stream) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/_mapping"))
    {
        assert_eq!(
            method, "GET",
            "a stream of this version needs no other mapping"
        );
        if state.blind {
            return whole(403, json!({"error": "unauthorized"}));
        }
        if !state.documents.contains_key(stream) {
            return whole(404, json!({"error": "missing"}));
        }
        let meta = json!({"version": crate::export::templates::VERSION});
        return whole(200, json!({"i": {"mappings": {"_meta": meta}}}));
    }
    if let Some(stream) = path.strip_prefix("/_data_stream/") {
        if state.blind {
            return whole(403, json!({"error": "unauthorized"}));
        }
        if !state.documents.contains_key(stream) {
            return whole(404, json!({"error": "missing"}));
        }
        let count = 1 + state.sealed.get(stream).map_or(0, Vec::len);
        let indices = vec![json!({"index_name": "i"}); count];
        return whole(
            200,
            json!({"data_streams": [{"name": stream, "indices": indices}]}),
        );
    }
    if let Some(stream) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/_search"))
    {
        return search(stream, target, request, state);
    }
    assert_eq!(path, "/", "nothing else is asked for");
    whole(200, json!({"version": {"number": "9.9.9"}}))
}

fn refresh(stream: &str, state: &mut State) -> Reply {
    if !state.documents.contains_key(stream) {
        return Reply::Whole(404, json!({"error": "missing"}).to_string());
    }
    let failed = state.partial.pop_front_if(|next| *next == Partial::Refresh);
    state.stale = failed.is_some();
    shards(failed.is_some(), &json!({}))
}

/// An answer with the shards that it is from.
fn shards(one_failed: bool, rest: &Value) -> Reply {
    let failed = u32::from(one_failed);
    let mut body = json!({"_shards": {"total": 2, "successful": 2 - failed, "failed": failed}});
    let members = rest.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    Reply::Whole(200, body.to_string())
}

fn search(stream: &str, target: &str, request: &Request, state: &mut State) -> Reply {
    let query: Value = serde_json::from_slice(&request.body).unwrap();
    let ids = query["query"]["ids"]["values"].as_array().unwrap();
    assert_eq!(query["size"], ids.len());
    let nothing = |timed_out| json!({"timed_out": timed_out, "hits": {"hits": []}});
    let partial = state.partial.pop_front_if(|next| *next != Partial::Refresh);
    match partial {
        // As a server does that was asked for everything or nothing.
        Some(Partial::Search) if target.contains("allow_partial_search_results=false") => {
            return Reply::Whole(503, "{\"error\":\"a shard failed\"}".to_owned());
        }
        Some(Partial::Search) => return shards(true, &nothing(false)),
        Some(Partial::TimedOut) => return shards(false, &nothing(true)),
        _ if state.stale => return shards(false, &nothing(false)),
        _ => {}
    }
    let has = |id: &&Value| state.documents[stream].contains_key(id.as_str().unwrap());
    let hits: Vec<_> = ids
        .iter()
        .filter(has)
        .map(|id| json!({"_id": id}))
        .collect();
    shards(false, &json!({"timed_out": false, "hits": {"hits": hits}}))
}

/// From now on documents go to another backing index.
fn roll_over(stream: &str, state: &mut State) {
    let documents = state.documents.entry(stream.to_owned()).or_default();
    let sealed = state.sealed.entry(stream.to_owned()).or_default();
    let older: BTreeSet<_> = sealed.iter().flatten().cloned().collect();
    let written = documents.keys().filter(|id| !older.contains(*id)).cloned();
    sealed.push(written.collect());
}

fn template(method: &str, name: &str, request: &Request, state: &mut State) -> Reply {
    let whole = |status, body: Value| Reply::Whole(status, body.to_string());
    if method == "GET" {
        return match state.templates.get(name) {
            Some(template) => whole(
                200,
                json!({"index_templates": [{"name": name, "index_template": template}]}),
            ),
            None => whole(404, json!({"error": "missing"})),
        };
    }
    let template: Value = serde_json::from_slice(&request.body).unwrap();
    if !state.histograms && template.to_string().contains(r#""type":"histogram""#) {
        let reason = "The mapper type [histogram] declared on field [histogram_us] does not exist";
        return whole(400, json!({"error": {"reason": reason}}));
    }
    let mut unknown = state.unknown.iter();
    let at = |field: &&&str| {
        ["", "/template"]
            .iter()
            .any(|at| template.pointer(&format!("{at}/{field}")).is_some())
    };
    if let Some(field) = unknown.find(at) {
        let reason = format!("[1:9] [template] unknown field [{field}]");
        return whole(400, json!({"error": {"reason": reason}}));
    }
    state.templates.insert(name.to_owned(), template);
    whole(200, json!({"acknowledged": true}))
}

fn bulk(stream: &str, request: &Request, state: &mut State) -> Reply {
    state.bulks += 1;
    assert!(
        state.templates.len() == 3,
        "templates come before documents"
    );
    if state.limit.is_some_and(|limit| request.body.len() > limit) {
        return Reply::Whole(413, String::new());
    }
    if state
        .busy_above
        .is_some_and(|limit| request.body.len() > limit)
    {
        return Reply::Whole(429, "{\"error\":\"busy\"}".to_owned());
    }
    let fault = state.faults.pop_front().unwrap_or(Fault::None);
    match fault {
        Fault::Request(status) => return Reply::Whole(status, "{\"error\":\"busy\"}".to_owned()),
        Fault::RequestThenRollover(status) => {
            roll_over(stream, state);
            return Reply::Whole(status, "{\"error\":\"busy\"}".to_owned());
        }
        Fault::ResetBefore => return Reply::Nothing,
        Fault::Stall => return Reply::Silence,
        _ => {}
    }
    let lines: Vec<Value> = std::str::from_utf8(&request.body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut items = Vec::new();
    let documents = state.documents.entry(stream.to_owned()).or_default();
    let sealed = state.sealed.entry(stream.to_owned()).or_default();
    for (i, pair) in lines.chunks(2).enumerate() {
        let id = pair[0]["create"]["_id"].as_str().unwrap().to_owned();
        let status = match fault {
            Fault::Items(status) | Fault::ItemsThenRollover(status) if i % 2 == 1 => status,
            Fault::Rejected if i == 0 => 400,
            _ if sealed.iter().any(|index| index.contains(&id)) => {
                state.doubled += 1;
                201
            }
            _ if documents.contains_key(&id) => 409,
            _ => 201,
        };
        match status {
            201 => drop(documents.insert(id, pair[1].clone())),
            409 => state.repeats += 1,
            _ => {}
        }
        let error = json!({"type": "some_exception", "reason": "because"});
        items.push(match status {
            201 => json!({"create": {"status": status}}),
            _ => json!({"create": {"status": status, "error": error}}),
        });
    }
    let body = json!({"took": 1, "errors": true, "items": items}).to_string();
    match fault {
        Fault::ResetAfterRollover => {
            roll_over(stream, state);
            Reply::Nothing
        }
        Fault::ItemsThenRollover(_) => {
            roll_over(stream, state);
            Reply::Whole(200, body)
        }
        Fault::ResetAfter => Reply::Nothing,
        Fault::Truncated => Reply::Half(body),
        Fault::Drip => Reply::Pieces(body),
        _ => Reply::Whole(200, body),
    }
}
