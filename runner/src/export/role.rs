//! What an exporter must be allowed to do on a search server, and nothing beyond it.

use serde_json::{Value, json};

/// The two kinds of servers, whose roles look different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Elasticsearch: the body of `PUT _security/role/NAME`, also a role descriptor of an API key.
    Elasticsearch,
    /// `OpenSearch`: the body of `PUT _plugins/_security/api/roles/NAME`.
    OpenSearch,
}

/// The role of an exporter to streams whose names begin with `prefix`, in all namespaces.
pub fn exporter_role(server: Server, prefix: &str) -> Value {
    let streams = format!("{prefix}-*");
    match server {
        Server::Elasticsearch => json!({
            "cluster": [
                // Which server it is.
                "monitor",
                // The templates of the streams.
                "manage_index_templates",
            ],
            "indices": [{
                "names": [streams],
                "privileges": [
                    // Documents are only ever created, never changed.
                    "create_doc",
                    // Streams come with their first document.
                    "auto_configure",
                    // Verification, and what of a request is there whose answer was lost.
                    "read",
                    // The refresh before both.
                    "maintenance",
                    // Whether a stream rolled over, and whether it was made by an older version.
                    "view_index_metadata",
                    // Such a stream gets the new fields, or rolls over.
                    "indices:admin/mapping/put",
                    "indices:admin/rollover",
                    // Which the server looks at before it rolls over.
                    "indices:monitor/stats",
                ],
            }],
        }),
        Server::OpenSearch => json!({
            "cluster_permissions": [
                "cluster:monitor/main",
                "indices:admin/index_template/get",
                "indices:admin/index_template/put",
                "indices:data/write/bulk",
            ],
            "index_permissions": [{
                "index_patterns": [streams],
                "allowed_actions": [
                    "indices:data/write/bulk*",
                    "indices:data/write/index",
                    "indices:admin/create",
                    "indices:admin/auto_create",
                    "indices:admin/data_stream/create",
                    "indices:admin/data_stream/get",
                    "indices:admin/refresh*",
                    "indices:data/read/search*",
                    "indices:admin/mappings/get",
                    "indices:admin/mapping/put",
                    "indices:admin/rollover",
                    "indices:monitor/stats",
                ],
            }],
        }),
    }
}
