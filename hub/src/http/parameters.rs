//! The parameters that a query may have. Unknown ones are refused, since a mistyped one would otherwise be ignored
//! silently.

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::error::ApiError;

/// The parameters of each method and route that takes any. Others take none. `HEAD` is as `GET`.
const PARAMETERS: [(Method, &str, &[&str]); 12] = [
    (Method::GET, "/silos", &["limit", "after"]),
    (Method::GET, "/silos/{id}", &["format"]),
    (Method::GET, "/silos/{id}/records", &["q", "limit", "after"]),
    (
        Method::DELETE,
        "/silos/{id}/records/{hostname}",
        &["family"],
    ),
    (
        Method::GET,
        "/records",
        &["q", "hostname", "address", "limit", "after"],
    ),
    (
        Method::GET,
        "/silos/{id}/history",
        &["hostname", "limit", "cursor"],
    ),
    (Method::GET, "/silos/{id}/agents", &["limit", "cursor"]),
    (Method::GET, "/events", &["full"]),
    (Method::GET, "/tokens", &["limit", "after"]),
    (Method::GET, "/invitations", &["limit", "after"]),
    (Method::GET, "/audit", &["limit", "cursor"]),
    (
        Method::GET,
        "/deliveries",
        &["state", "sink", "limit", "cursor"],
    ),
];
/// Routes below these belong to this interface. Other routes may have parameters that are not listed here, such as
/// those of foreign protocols, or those that monitors add to bypass caches.
const OWN: [&str; 11] = [
    "/silos",
    "/records",
    "/events",
    "/tokens",
    "/invitations",
    "/audit",
    "/deliveries",
    "/metrics",
    "/token",
    "/version",
    "/status",
];

/// Refuses unknown parameters of a request, once its caller is authenticated.
pub(super) fn check(parts: &Parts) -> Result<(), ApiError> {
    match (parts.uri.query(), parts.extensions.get::<MatchedPath>()) {
        (Some(query), Some(route)) => check_query(&parts.method, route.as_str(), query),
        _ => Ok(()),
    }
}

/// The same for a known route.
pub(super) fn check_query(method: &Method, route: &str, query: &str) -> Result<(), ApiError> {
    let is_own = OWN.iter().any(|own| {
        route
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if !is_own {
        return Ok(());
    }
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let of_request = PARAMETERS
        .iter()
        .find(|(of, at, _)| of == method && *at == route);
    let known = of_request.map_or(&[][..], |(.., known)| known);
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            let name: String = name.chars().take(64).collect();
            let detail = match known {
                [] => "this request takes no parameters".to_owned(),
                known => format!(
                    "there is no such parameter here, only: {}",
                    known.join(", ")
                ),
            };
            return Err(ApiError::invalid(format!("/{name}"), detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_own_parameters() {
        const RECORD: &str = "/silos/{id}/records/{hostname}";
        const RECORDS: &str = "/silos/{id}/records";
        for (method, route, query, is_taken) in [
            (Method::DELETE, RECORD, "family=4", true),
            (Method::GET, RECORD, "family=4", false),
            (Method::PUT, RECORD, "family=4", false),
            (Method::GET, RECORDS, "q=x", true),
            (Method::HEAD, RECORDS, "q=x", true),
            (Method::PATCH, RECORDS, "q=x", false),
            (Method::GET, "/silos/{id}", "format=hosts", true),
            (Method::PUT, "/silos/{id}", "format=hosts", false),
            (Method::DELETE, "/silos/{id}", "format=hosts", false),
            (Method::POST, "/tokens", "limit=1", false),
        ] {
            let taken = check_query(&method, route, query).is_ok();
            assert_eq!(taken, is_taken, "{method} {route}?{query}");
        }
    }

    #[test]
    fn unknown_parameters_are_refused_on_own_routes() {
        for (route, query, refused) in [
            ("/silos", "limit=5&after=a", None),
            ("/silos", "", None),
            ("/silos", "limit=5&page=2", Some("/page")),
            ("/silos", "Limit=5", Some("/Limit")),
            ("/silos/{id}", "format=hosts", None),
            ("/silos/{id}", "fromat=hosts", Some("/fromat")),
            ("/silos/{id}/records", "q=db&limit=1&after=a", None),
            ("/silos/{id}/records", "hostname=db", Some("/hostname")),
            ("/silos/{id}/revert", "revision=1", Some("/revision")),
            ("/records", "hostname=db&address=10.0.0.7&q=x", None),
            ("/records", "host=db", Some("/host")),
            ("/silos/{id}/records/{hostname}", "ip=10.0.0.7", Some("/ip")),
            (
                "/silos/{id}/history",
                "host%6eame=db&limit=1&cursor=x",
                None,
            ),
            ("/tokens/{token}/rotate", "overlap=5", Some("/overlap")),
            ("/metrics", "a=b", Some("/a")),
            ("/token", "a=b", Some("/a")),
            ("/version", "a=b", Some("/a")),
            ("/ping", "a=b", None),
            ("/ip", "1795226983", None),
            ("/nic/update", "hostname=nas", None),
            ("/u/{*key}", "a=b", None),
            ("/update", "secid=s", None),
            ("/silosophy", "a=b", None),
        ] {
            let found = match check_query(&Method::GET, route, query) {
                Ok(()) => None,
                Err(ApiError::Invalid(errors)) => Some(errors[0].pointer.clone()),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found.as_deref(), refused, "{route}?{query}");
        }
    }
}
