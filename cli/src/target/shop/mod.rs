//! `/shop`: a service with logins, items, pages, jobs and uploads, for scenarios that need more
//! than an echo. It forgets everything when it ends.

mod identity;
mod upload;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{COOKIE, HeaderValue, LOCATION, SET_COOKIE},
    http::request::Parts,
};
use serde_json::{Value, json};

use super::{
    body::AnswerBody,
    routes::{as_json, problem, with_type},
};

/// What there is, for the index.
pub(super) const INDEX: &str = "\
  /shop/login                      POST {\"user\",\"password\":\"open sesame\"}: a token
  /shop/me                         who the bearer token (or JWT, HS256 by \"shop-key\") belongs to
  /shop/login-form, /shop/account  the same with a form, a cookie and a CSRF field
  /shop/oauth/token                POST: client credentials shop / shop-secret; ?ttl=SECONDS
  /shop/items[/{id}]               POST, GET, PUT, DELETE
  /shop/catalog?page={n}           30 products, 10 on a page; /shop/products/{id}
  /shop/graphql                    POST { product(id: 7) { name } }
  /shop/jobs[/{id}]                POST; done at the third look
  /shop/tenants[/{id}[/orders]]    POST, GET, DELETE
  /shop/signed                     POST with x-signature: HMAC-SHA256 of the body by \"shop-key\"
  /shop/upload                     POST multipart: what came
  /shop/assets/{name}              parts of a page
";

/// Most things of a kind that are remembered; beyond it creating one is refused.
const MOST: usize = 100_000;

/// Products of the catalogue.
const PRODUCTS: u64 = 30;
const PAGE: u64 = 10;

/// A job is done when it is looked at for the third time.
const LOOKS: u64 = 3;

/// All that the shop remembers.
#[derive(Debug, Default)]
pub(super) struct Shop {
    next: AtomicU64,
    items: Mutex<BTreeMap<u64, Value>>,
    jobs: Mutex<BTreeMap<u64, u64>>,
    tenants: Mutex<BTreeMap<u64, u64>>,
    /// By operation: `POST items`, `GET items/{id}` and so on.
    counts: Mutex<BTreeMap<String, u64>>,
}

/// A request to the shop.
struct Asked<'a> {
    head: &'a Parts,
    body: &'a [u8],
}

impl Asked<'_> {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body).ok()
    }

    fn query(&self, name: &str) -> Option<String> {
        pair(self.head.uri.query()?.as_bytes(), name)
    }

    fn form(&self, name: &str) -> Option<String> {
        pair(self.body, name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.head.headers.get(COOKIE)?.to_str().ok()?;
        let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

fn pair(encoded: &[u8], name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(encoded);
    pairs
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

impl Shop {
    /// Requests by operation.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        locked(&self.counts).clone()
    }

    /// Answers what comes after `/shop/`.
    pub(super) fn answer(
        &self,
        head: &Parts,
        body: Option<&Bytes>,
        rest: &str,
    ) -> Response<AnswerBody> {
        let asked = Asked {
            head,
            body: body.map_or(&[], |body| body),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let answer = self.route(&asked, &parts);
        let (operation, response) = answer.unwrap_or_else(|| {
            (
                "(other)",
                problem(
                    StatusCode::NOT_FOUND,
                    "the shop does not have this; / lists what there is",
                ),
            )
        });
        let name = match operation {
            "(other)" => operation.to_owned(),
            _ => format!("{} {operation}", head.method),
        };
        *locked(&self.counts).entry(name).or_default() += 1;
        response
    }

    fn route(
        &self,
        asked: &Asked<'_>,
        parts: &[&str],
    ) -> Option<(&'static str, Response<AnswerBody>)> {
        let method = &asked.head.method;
        let (get, post) = (method == Method::GET, method == Method::POST);
        Some(match parts {
            ["login"] if post => ("login", identity::login(asked)),
            ["me"] if get => ("me", identity::me(asked)),
            ["login-form"] if get => ("login-form", identity::login_form(self.number())),
            ["login-form"] if post => ("login-form", identity::submit_login_form(asked)),
            ["account"] if get => ("account", identity::account(asked)),
            ["oauth", "token"] if post => ("oauth/token", identity::token(asked)),
            ["signed"] if post => ("signed", identity::signed(asked)),
            ["items"] if post => ("items", self.create_item(asked)),
            ["items", id] => ("items/{id}", self.item(asked, id)),
            ["catalog"] if get => ("catalog", catalog(asked)),
            ["products", id] if get => ("products/{id}", product(id)),
            ["graphql"] if post => ("graphql", graphql(asked)),
            ["jobs"] if post => ("jobs", self.create_job()),
            ["jobs", id] if get => ("jobs/{id}", self.job(id)),
            ["tenants"] if post => ("tenants", self.create_tenant()),
            ["tenants", id] => ("tenants/{id}", self.tenant(method, id)),
            ["tenants", id, "orders"] if get => ("tenants/{id}/orders", self.orders(id)),
            ["upload"] if post => ("upload", upload::answer(asked)),
            ["assets", name] if get => (
                "assets/{name}",
                with_type("text/css", AnswerBody::whole(format!("/* {name} */\n"))),
            ),
            _ => return None,
        })
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed) + 1
    }

    /// Remembers something under a new number.
    fn create<T>(&self, things: &Mutex<BTreeMap<u64, T>>, thing: T) -> Option<u64> {
        let id = self.number();
        let mut things = locked(things);
        (things.len() < MOST).then(|| {
            things.insert(id, thing);
            id
        })
    }

    fn create_item(&self, asked: &Asked<'_>) -> Response<AnswerBody> {
        let Some(Value::Object(item)) = asked.json() else {
            return problem(StatusCode::BAD_REQUEST, "an item is a JSON object");
        };
        match self.create(&self.items, Value::Object(item.clone())) {
            Some(id) => {
                let mut response = as_json(StatusCode::CREATED, &with_id(id, item));
                put(&mut response, LOCATION, &format!("/shop/items/{id}"));
                response
            }
            None => full(),
        }
    }

    fn item(&self, asked: &Asked<'_>, id: &str) -> Response<AnswerBody> {
        let mut items = locked(&self.items);
        let Some((id, item)) = id
            .parse()
            .ok()
            .and_then(|id| Some((id, items.get_mut(&id)?)))
        else {
            return nothing();
        };
        match (&asked.head.method, asked.json()) {
            (&Method::GET, _) => as_json(
                StatusCode::OK,
                &with_id(id, item.as_object().cloned().unwrap_or_default()),
            ),
            (&Method::PUT, Some(Value::Object(new))) => {
                *item = Value::Object(new.clone());
                as_json(StatusCode::OK, &with_id(id, new))
            }
            (&Method::DELETE, _) => {
                items.remove(&id);
                no_content()
            }
            _ => problem(
                StatusCode::BAD_REQUEST,
                "an item takes GET, PUT with a JSON object, and DELETE",
            ),
        }
    }

    fn create_job(&self) -> Response<AnswerBody> {
        match self.create(&self.jobs, 0) {
            Some(id) => as_json(
                StatusCode::ACCEPTED,
                &json!({ "id": id, "state": "queued" }),
            ),
            None => full(),
        }
    }

    fn job(&self, id: &str) -> Response<AnswerBody> {
        let mut jobs = locked(&self.jobs);
        let Some((id, looks)) = id
            .parse::<u64>()
            .ok()
            .and_then(|id| Some((id, jobs.get_mut(&id)?)))
        else {
            return nothing();
        };
        *looks += 1;
        let state = if *looks >= LOOKS { "done" } else { "running" };
        as_json(StatusCode::OK, &json!({ "id": id, "state": state }))
    }

    fn create_tenant(&self) -> Response<AnswerBody> {
        match self.create(&self.tenants, 0) {
            Some(id) => as_json(StatusCode::CREATED, &json!({ "tenant": id.to_string() })),
            None => full(),
        }
    }

    fn tenant(&self, method: &Method, id: &str) -> Response<AnswerBody> {
        let mut tenants = locked(&self.tenants);
        let Some(id) = id.parse().ok().filter(|id| tenants.contains_key(id)) else {
            return nothing();
        };
        if method == Method::DELETE {
            tenants.remove(&id);
            return no_content();
        }
        as_json(
            StatusCode::OK,
            &json!({ "tenant": id.to_string(), "orders": tenants.get(&id) }),
        )
    }

    fn orders(&self, id: &str) -> Response<AnswerBody> {
        let mut tenants = locked(&self.tenants);
        let Some(orders) = id.parse::<u64>().ok().and_then(|id| tenants.get_mut(&id)) else {
            return nothing();
        };
        *orders += 1;
        as_json(StatusCode::OK, &json!({ "tenant": id, "orders": *orders }))
    }
}

fn catalog(asked: &Asked<'_>) -> Response<AnswerBody> {
    let page = asked
        .query("page")
        .and_then(|page| page.parse().ok())
        .unwrap_or(1)
        .clamp(1, 1_000u64);
    let first = (page - 1) * PAGE + 1;
    let items: Vec<_> = (first..first + PAGE)
        .filter(|id| *id <= PRODUCTS)
        .map(described)
        .collect();
    let next = (first + PAGE <= PRODUCTS).then(|| format!("/shop/catalog?page={}", page + 1));
    as_json(
        StatusCode::OK,
        &json!({ "page": page, "items": items, "next": next }),
    )
}

fn product(id: &str) -> Response<AnswerBody> {
    match id.parse() {
        Ok(id @ 1..=PRODUCTS) => as_json(StatusCode::OK, &described(id)),
        _ => nothing(),
    }
}

fn described(id: u64) -> Value {
    json!({ "id": id, "name": format!("Product {id}"), "price": id * 5, "inStock": !id.is_multiple_of(7) })
}

/// Just enough of GraphQL: the number in `product(id: N)`, or the variable `id`. As GraphQL servers
/// do, it says what went wrong with status 200.
fn graphql(asked: &Asked<'_>) -> Response<AnswerBody> {
    let request = asked.json().unwrap_or_default();
    let query = request
        .get("query")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let written = query
        .split_once("product(id:")
        .and_then(|(_, rest)| rest.split_once(')'));
    let id = match written.map(|(id, _)| id.trim()) {
        Some(id) if id.starts_with('$') => request.pointer("/variables/id").and_then(Value::as_u64),
        Some(id) => id.parse().ok(),
        None => None,
    };
    let answer = match id.filter(|id| (1..=PRODUCTS).contains(id)) {
        Some(id) => json!({ "data": { "product": described(id) } }),
        None => json!({ "data": null, "errors": [{ "message": "no such product" }] }),
    };
    as_json(StatusCode::OK, &answer)
}

fn with_id(id: u64, mut item: serde_json::Map<String, Value>) -> Value {
    item.insert("id".to_owned(), id.into());
    Value::Object(item)
}

fn put(response: &mut Response<AnswerBody>, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn put_cookie(response: &mut Response<AnswerBody>, session: &str) {
    put(
        response,
        SET_COOKIE,
        &format!("session={session}; Path=/shop; HttpOnly"),
    );
}

fn redirect(to: &str) -> Response<AnswerBody> {
    let mut response = no_content();
    *response.status_mut() = StatusCode::SEE_OTHER;
    put(&mut response, LOCATION, to);
    response
}

fn no_content() -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn nothing() -> Response<AnswerBody> {
    problem(StatusCode::NOT_FOUND, "there is none of this number")
}

fn full() -> Response<AnswerBody> {
    problem(
        StatusCode::INSUFFICIENT_STORAGE,
        "the shop remembers 100000 things of a kind at most",
    )
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
