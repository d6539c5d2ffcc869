//! Where requests may go, and which of the two clients carries them.

use loadtest_core::plan::{Origin, Plan, Protocol, Scheme, Target};

use super::{
    compile::CompileError,
    tls::{self, TlsSetUpError},
};

/// The target's own origin and the others.
pub fn origins(target: &Target) -> Vec<Origin> {
    let own = std::iter::once(&target.origin);
    own.chain(&target.other_origins).cloned().collect()
}

/// Whether only the general client can do what the target needs.
pub fn needs_general(target: &Target) -> bool {
    target.protocol == Protocol::Http2 || target.proxy.is_some()
}

/// # Errors
/// When that client cannot do what the target asks for.
pub fn check_general(target: &Target) -> Result<(), CompileError> {
    let plain = origins(target).iter().any(|o| o.scheme == Scheme::Http);
    let http2 = target.protocol == Protocol::Http2;
    if needs_general(target) && target.tls.server_name.is_some() {
        Err(CompileError::General(
            "target.tls.serverName cannot be used together with HTTP/2 or a proxy: use a url with that name",
        ))
    } else if http2 && target.proxy.is_some() && plain {
        Err(CompileError::General(
            "HTTP/2 without TLS does not go through a proxy: use https, or HTTP/1.1, or no proxy",
        ))
    } else {
        Ok(())
    }
}

/// How TLS is spoken; `None` if no request can get to https. Where only a redirect or a proxy
/// could need it, what is missing fails a request and not the run.
///
/// # Errors
/// When an https origin could not be spoken to.
pub fn tls_config(plan: &Plan) -> Result<Option<rustls::ClientConfig>, TlsSetUpError> {
    let target = &plan.target;
    let perhaps =
        || target.proxy.is_some() || plan.requests().any(|(.., r)| r.follow_redirects > 0);
    if origins(target).iter().any(|o| o.scheme == Scheme::Https) {
        tls::client_config(&target.tls).map(Some)
    } else if perhaps() {
        Ok(tls::client_config(&target.tls).ok())
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use Protocol::{Http1, Http2};
    use Scheme::{Http, Https};
    use loadtest_core::plan::TargetTls;

    use super::*;

    #[test]
    fn what_the_general_client_cannot_do_is_refused() {
        let target = |protocol, proxy: bool, scheme, name: bool| {
            let mut target = Target {
                protocol,
                proxy: proxy.then(|| "http://proxy:3128".to_owned()),
                tls: TargetTls {
                    server_name: name.then(|| "shop".to_owned()),
                    ..TargetTls::default()
                },
                ..Target::default()
            };
            target.origin.scheme = scheme;
            check_general(&target).map_err(|error| error.to_string())
        };
        for (protocol, proxy, scheme) in [
            (Http1, false, Https),
            (Http1, true, Http),
            (Http2, false, Http),
            (Http2, true, Https),
        ] {
            assert_eq!(target(protocol, proxy, scheme, false), Ok(()));
        }
        assert_eq!(target(Http1, false, Https, true), Ok(()));
        let refused = target(Http2, true, Http, false).unwrap_err();
        assert!(refused.starts_with("HTTP/2 without TLS does not go through a proxy"));
        let refused = target(Http1, true, Https, true).unwrap_err();
        assert!(refused.starts_with("target.tls.serverName cannot be used"));
    }
}
