//! What can go wrong between here and a cluster, each with its mend.

use std::error::Error;

use kube::{client::AuthError, config::KubeconfigError, core::Status};
use loadtest_crds::Problem;

use crate::{
    exit::Exit,
    manifest,
    output::terminal::{Unprinted, say},
};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Something about the command line.
    #[error("{0}")]
    Usage(String),
    /// A manifest is wrong.
    #[error("{source_name} is refused")]
    Manifest {
        /// The file.
        source_name: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// There is neither a kubeconfig nor a cluster around us.
    #[error(
        "there is no kubeconfig ({0}), and this is no pod of a cluster: name one with --kubeconfig FILE or KUBECONFIG, or run the test on this machine with `loadtest run FILE`"
    )]
    NoKubeconfig(String),
    /// The kubeconfig has no such context.
    #[error(
        "the kubeconfig has no context {0:?}: `kubectl config get-contexts` lists those that it has"
    )]
    NoContext(String),
    /// The kubeconfig names no context.
    #[error(
        "the kubeconfig has no current context: choose one with --context NAME or `kubectl config use-context NAME`"
    )]
    NoCurrentContext,
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// The cluster's address does not answer.
    #[error(
        "cannot reach the cluster at {server}: {reason}; is it running, and is the context the right one (--context)?"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The cluster is busy, or is starting.
    #[error("the cluster at {server} cannot {doing} now: {message}; try again")]
    Busy {
        /// Its address.
        server: String,
        /// What was asked.
        doing: &'static str,
        /// What it said.
        message: String,
    },
    /// Nobody knows whether the run was made.
    #[error(
        "the cluster at {server} did not say whether it made the run: {message}; before you try again see `kubectl loadtest history -n {namespace}`: two runs would send load at once"
    )]
    Unsure {
        /// Its address.
        server: String,
        /// What it said.
        message: String,
        /// Where the run would be.
        namespace: String,
    },
    /// The credentials are none.
    #[error(
        "the cluster at {server} does not take the credentials of the kubeconfig: {message}; log in again, or choose another context with --context"
    )]
    Unauthorized {
        /// Its address.
        server: String,
        /// What it said.
        message: String,
    },
    /// Credentials are right but may not do this.
    #[error(
        "may not {doing}: {message}; an administrator grants it by binding the chart's role …-edit (to run tests) or …-view (to read them)"
    )]
    Forbidden {
        /// What was asked.
        doing: &'static str,
        /// What it said.
        message: String,
    },
    /// The API is unknown.
    #[error(
        "the cluster at {server} does not know LoadTests (loadtest.dev/v1alpha1): install the operator with `helm install loadtest oci://ghcr.io/loadtest-dev/charts/loadtest-operator --version {version} --namespace loadtest-system --create-namespace`",
        version = env!("CARGO_PKG_VERSION")
    )]
    NotInstalled {
        /// Its address.
        server: String,
    },
    /// There is no such namespace.
    #[error("there is no namespace {0:?}: choose one with -n NAMESPACE")]
    NoNamespace(String),
    /// There is no such object.
    #[error("there is no {kind} named {name:?} in namespace {namespace:?}: {mend}")]
    NotFound {
        /// Which kinds were looked for.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where.
        namespace: String,
        /// How to find what there is.
        mend: &'static str,
    },
    /// The name is taken.
    #[error(
        "there is a LoadTestRun named {0:?} already, and runs never run twice: give the manifest another name, or generateName instead of name"
    )]
    Exists(String),
    /// The API server does not take the object.
    #[error("the cluster refuses the run: {0}")]
    Refused(String),
    /// There is nothing to show, though all was well.
    #[error("{0}")]
    Nothing(String),
    /// The run went while it was followed.
    #[error("the LoadTestRun {0:?} was deleted before it was over")]
    Deleted(String),
    /// It takes longer than was allowed.
    #[error("{0}")]
    Timeout(String),
    /// What was found out cannot be printed.
    #[error(transparent)]
    Print(#[from] Unprinted),
    /// Anything else.
    #[error("cannot {doing}: {message}")]
    Other {
        /// What was asked.
        doing: &'static str,
        /// What was said.
        message: String,
    },
}

impl ClusterError {
    /// From what the client says; `doing` completes "may not …".
    pub fn api(doing: &'static str, server: &str, error: kube::Error) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => Self::status(doing, server, *status),
            // Tokens and credential plugins.
            kube::Error::Auth(error) => Self::credentials(server, &error),
            kube::Error::Service(error) => match error.downcast_ref::<AuthError>() {
                Some(error) => Self::credentials(server, error),
                None => Self::Unreachable {
                    server,
                    reason: root(error.as_ref()),
                },
            },
            error @ (kube::Error::HyperError(_)
            | kube::Error::HttpError(_)
            | kube::Error::ReadEvents(_)) => Self::Unreachable {
                server,
                reason: root(&error),
            },
            error => Self::Other {
                doing,
                message: root(&error),
            },
        }
    }

    fn credentials(server: String, error: &AuthError) -> Self {
        Self::Unauthorized {
            server,
            message: root(error),
        }
    }

    fn status(doing: &'static str, server: String, status: Status) -> Self {
        let message = status.message;
        let (kind, name) = status
            .details
            .map(|details| (details.kind, details.name))
            .unwrap_or_default();
        match status.code {
            401 => Self::Unauthorized { server, message },
            403 if message.contains("cannot") => Self::Forbidden { doing, message },
            400 | 403 | 422 => Self::Refused(message),
            404 if kind == "namespaces" => Self::NoNamespace(name),
            404 if name.is_empty() => Self::NotInstalled { server },
            409 if status.reason == "AlreadyExists" => Self::Exists(name),
            429 | 500.. => Self::Busy {
                server,
                doing,
                message,
            },
            _ => Self::Other { doing, message },
        }
    }

    /// From a kubeconfig that cannot be used.
    pub fn kubeconfig(error: &KubeconfigError) -> Self {
        match error {
            KubeconfigError::LoadContext(name) => Self::NoContext(name.clone()),
            KubeconfigError::CurrentContextNotSet => Self::NoCurrentContext,
            KubeconfigError::ReadConfig(error, path) => {
                Self::Kubeconfig(format!("cannot read {}: {error}", path.display()))
            }
            other => Self::Kubeconfig(other.to_string()),
        }
    }

    /// Whether trying again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// What the process answers.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_)
            | Self::Manifest { .. }
            | Self::NoContext(_)
            | Self::Exists(_)
            | Self::Refused(_) => Exit::Usage,
            _ => Exit::Error,
        }
    }

    /// Says it.
    pub fn tell(&self) {
        if let Self::Manifest {
            source_name,
            problems,
        } = self
        {
            manifest::refuse(source_name, problems);
        } else {
            say(&format!("error: {self}"));
        }
    }
}

/// The innermost cause: the outer ones only say that there is one.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    fn said(code: u16, reason: &str, message: &str, details: Option<(&str, &str)>) -> ClusterError {
        let mut status = Status::failure(message, reason).with_code(code);
        status.details = details.map(|(kind, name)| StatusDetails {
            kind: kind.to_owned(),
            name: name.to_owned(),
            group: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        ClusterError::api("start a run", "https://c", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn answers_become_sentences_with_their_exit_codes() {
        let denied = "loadtestruns.loadtest.dev is forbidden: User \"u\" cannot create resource";
        let quota = "loadtestruns.loadtest.dev \"a\" is forbidden: exceeded quota: runs";
        for (error, begins, exit) in [
            (
                said(404, "", "404 page not found", None),
                "the cluster at https://c does not know LoadTests",
                Exit::Error,
            ),
            (
                said(404, "NotFound", "", Some(("namespaces", "x"))),
                "there is no namespace \"x\"",
                Exit::Error,
            ),
            (
                said(403, "Forbidden", denied, None),
                "may not start a run: loadtestruns",
                Exit::Error,
            ),
            (
                said(403, "Forbidden", quota, None),
                "the cluster refuses the run: ",
                Exit::Usage,
            ),
            (
                said(422, "Invalid", "spec: wrong", None),
                "the cluster refuses the run: spec",
                Exit::Usage,
            ),
            (
                said(409, "AlreadyExists", "", Some(("loadtestruns", "a"))),
                "there is a LoadTestRun named \"a\"",
                Exit::Usage,
            ),
            (
                said(401, "Unauthorized", "Unauthorized", None),
                "the cluster at https://c does not take",
                Exit::Error,
            ),
            (
                said(503, "", "starting", None),
                "the cluster at https://c cannot start a run now: starting",
                Exit::Error,
            ),
        ] {
            let text = error.to_string();
            assert!(text.starts_with(begins), "{text}");
            assert_eq!(error.exit(), exit, "{text}");
            assert_eq!(error.is_passing(), text.contains("starting"), "{text}");
        }
    }
}
