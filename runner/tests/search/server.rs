//! A search server as a person sees it who asks it something.

use serde_json::{Value, json};

/// What a person would ask the server.
pub struct Search {
    url: String,
    prefix: String,
    namespace: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Search {
    pub fn new(url: &str, namespace: &str) -> Self {
        Self::of_streams(url, "loadtest", namespace)
    }

    /// Of streams whose names begin with something else.
    pub fn of_streams(url: &str, prefix: &str, namespace: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            namespace: namespace.to_owned(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn stream(&self, stream: &str) -> String {
        let Self {
            url,
            prefix,
            namespace,
            ..
        } = self;
        format!("{url}/{prefix}-{stream}-{namespace}")
    }

    pub fn ask(&self, stream: &str, what: &str, body: &Value) -> Value {
        let url = format!("{}/{what}", self.stream(stream));
        self.runtime.block_on(async {
            let request = self
                .client
                .post(&url)
                .header("content-type", "application/json")
                .body(body.to_string());
            let response = request.send().await.unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status.is_success(), "{url}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        })
    }

    pub fn count(&self, stream: &str) -> u64 {
        self.ask(stream, "_count", &json!({}))["count"]
            .as_u64()
            .unwrap()
    }

    /// Documents that were taken so far, none while there is no stream.
    pub fn taken(&self, stream: &str) -> u64 {
        let url = self.stream(stream);
        let count = async {
            let refresh = self
                .client
                .post(format!("{url}/_refresh"))
                .send()
                .await
                .unwrap();
            if !refresh.status().is_success() {
                return 0;
            }
            let count = self
                .client
                .get(format!("{url}/_count"))
                .send()
                .await
                .unwrap();
            let text = count.text().await.unwrap();
            let count: Value = serde_json::from_str(&text).unwrap();
            count["count"].as_u64().unwrap_or_default()
        };
        self.runtime.block_on(count)
    }

    pub fn aggregate(&self, stream: &str, query: &Value, aggregation: &Value) -> Value {
        let body = json!({"size": 0, "query": query, "aggs": {"a": aggregation}});
        self.ask(stream, "_search", &body)["aggregations"]["a"].clone()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn takes_template(&self, name: &str, template: &Value) -> bool {
        let (status, _) = self.send("PUT", &format!("_index_template/{name}"), template);
        status < 300
    }

    /// Any request; a body that is null is none. Answers status and body.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}/{path}", self.url));
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        })
    }
}
