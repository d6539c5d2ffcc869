//! Which cluster, as whom, and which namespace: as `kubectl` reads it.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{Cluster, ClusterError};

/// A cluster that is there is reached sooner.
const CONNECT: Duration = Duration::from_secs(10);

/// Options that `kubectl` has as well.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// Kubeconfig to use instead of KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig instead of its current one.
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// Namespace instead of the context's.
    #[arg(long, short, value_name = "NAME", global = true)]
    namespace: Option<String>,
    /// User to act as.
    #[arg(long = "as", value_name = "USER", global = true)]
    user: Option<String>,
    /// Group to act as, beside --as; may be repeated.
    #[arg(long = "as-group", value_name = "GROUP", global = true)]
    groups: Vec<String>,
}

impl Connection {
    /// The namespace that was asked for.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Sets an option by its name, as far as it says which cluster and namespace.
    pub fn set(&mut self, option: &str, value: &str) {
        match option {
            "kubeconfig" => self.kubeconfig = Some(value.into()),
            "context" => self.context = Some(value.to_owned()),
            "namespace" => self.namespace = Some(value.to_owned()),
            "user" => self.user = Some(value.to_owned()),
            "groups" => self.groups.push(value.to_owned()),
            _ => {}
        }
    }

    /// Reads the kubeconfig; nothing is sent yet.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn connect(&self) -> Result<Cluster, ClusterError> {
        if self.user.is_none() && !self.groups.is_empty() {
            let message = "--as-group needs --as USER: a group is acted as together with a user";
            return Err(ClusterError::Usage(message.to_owned()));
        }
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT);
        // The client's own would send everything up to 16 times, a new run as well.
        config.default_retry = false;
        if let Some(user) = &self.user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                (!self.groups.is_empty()).then(|| self.groups.clone());
        }
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|error| ClusterError::api("use the kubeconfig", &server, error))?;
        Ok(Cluster::new(client, server, namespace))
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = match read {
            Ok(kubeconfig) => kubeconfig,
            // Only when nobody asked for a certain one: a pod of the cluster has none.
            Err(error) if self.is_implicit() && is_missing(&error) => {
                return Config::incluster()
                    .map_err(|_| ClusterError::NoKubeconfig(missing_place(&error)));
            }
            Err(error) => return Err(ClusterError::kubeconfig(&error)),
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| ClusterError::kubeconfig(&error))
    }

    fn is_implicit(&self) -> bool {
        self.kubeconfig.is_none() && self.context.is_none()
    }
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn missing_place(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(_, path) => format!("{} does not exist", path.display()),
        _ => "no home directory is known".to_owned(),
    }
}
