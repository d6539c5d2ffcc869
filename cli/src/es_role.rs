//! `loadtest es-role`: what to allow an exporter on a search server.

use clap::ValueEnum;
use loadtest_core::plan::DEFAULT_DATA_STREAM_PREFIX;
use loadtest_runner::export::role::{Server, exporter_role};

use crate::{exit::Exit, output::terminal::answer};

/// Arguments of `loadtest es-role`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the server.
    #[arg(value_name = "SERVER", default_value = "elasticsearch")]
    pub server: Kind,
    /// What the names of the streams begin with: dataStreamPrefix of the tests.
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_DATA_STREAM_PREFIX)]
    pub data_stream_prefix: String,
}

/// Kinds of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The body of PUT _security/role/NAME.
    Elasticsearch,
    /// The body of PUT _plugins/_security/api/roles/NAME.
    Opensearch,
}

/// Prints the role.
pub fn run(args: &Args) -> Exit {
    let server = match args.server {
        Kind::Elasticsearch => Server::Elasticsearch,
        Kind::Opensearch => Server::OpenSearch,
    };
    answer(&format!(
        "{:#}\n",
        exporter_role(server, &args.data_stream_prefix)
    ))
}
