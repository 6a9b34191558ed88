//! The parameters that a query may have. Unknown ones are refused, since a mistyped one would otherwise be ignored
//! silently.

use axum::extract::MatchedPath;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::error::ApiError;

/// The parameters of each route that takes any, for all methods. Other routes take none.
const PARAMETERS: [(&str, &[&str]); 9] = [
    ("/silos", &["limit", "after"]),
    ("/silos/{id}", &["format"]),
    ("/silos/{id}/records/{hostname}", &["family"]),
    ("/silos/{id}/history", &["hostname", "limit", "cursor"]),
    ("/silos/{id}/events", &[]),
    ("/events", &["full"]),
    ("/tokens", &["limit", "after"]),
    ("/audit", &["limit", "cursor"]),
    ("/deliveries", &["state", "sink", "limit", "cursor"]),
];
/// Routes below these belong to this interface. Other routes may have parameters that are not listed here, such as
/// those of foreign protocols, or those that monitors add to bypass caches.
const OWN: [&str; 6] = [
    "/silos",
    "/events",
    "/tokens",
    "/audit",
    "/deliveries",
    "/metrics",
];

/// Refuses unknown parameters of a request, once its caller is authenticated.
pub(super) fn check(parts: &Parts) -> Result<(), ApiError> {
    match (parts.uri.query(), parts.extensions.get::<MatchedPath>()) {
        (Some(query), Some(route)) => check_query(route.as_str(), query),
        _ => Ok(()),
    }
}

/// The same for a known route.
pub(super) fn check_query(route: &str, query: &str) -> Result<(), ApiError> {
    let is_own = OWN.iter().any(|own| {
        route
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if !is_own {
        return Ok(());
    }
    let of_route = PARAMETERS.iter().find(|(known, _)| *known == route);
    let known = of_route.map_or(&[][..], |(_, known)| known);
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
    fn unknown_parameters_are_refused_on_own_routes() {
        for (route, query, refused) in [
            ("/silos", "limit=5&after=a", None),
            ("/silos", "", None),
            ("/silos", "limit=5&page=2", Some("/page")),
            ("/silos", "Limit=5", Some("/Limit")),
            ("/silos/{id}", "format=hosts", None),
            ("/silos/{id}", "fromat=hosts", Some("/fromat")),
            ("/silos/{id}/records/{hostname}", "family=4", None),
            ("/silos/{id}/records/{hostname}", "ip=10.0.0.7", Some("/ip")),
            (
                "/silos/{id}/history",
                "host%6eame=db&limit=1&cursor=x",
                None,
            ),
            ("/tokens/{token}/rotate", "overlap=5", Some("/overlap")),
            ("/metrics", "a=b", Some("/a")),
            ("/ping", "a=b", None),
            ("/ip", "1795226983", None),
            ("/nic/update", "hostname=nas", None),
            ("/u/{*key}", "a=b", None),
            ("/update", "secid=s", None),
            ("/silosophy", "a=b", None),
        ] {
            let found = match check_query(route, query) {
                Ok(()) => None,
                Err(ApiError::Invalid(errors)) => Some(errors[0].pointer.clone()),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found.as_deref(), refused, "{route}?{query}");
        }
    }
}
