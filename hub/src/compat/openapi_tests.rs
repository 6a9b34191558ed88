use std::collections::BTreeSet;

use serde_json::Value;

use super::super::tests::paths;
use super::super::{DYNDNS2_ROUTES, UPDATE_KEY_ROUTE, routes};
use super::*;

fn json() -> Value {
    serde_json::from_slice(document().json()).unwrap()
}

/// A route as OpenAPI writes it. Other spellings of a route, which routers use, are not described.
fn described_as(route: &str) -> &str {
    match route {
        UPDATE_KEY_ROUTE => "/u/{key}",
        route if DYNDNS2_ROUTES.contains(&route) && route.contains("v3") => V3_UPDATE,
        route if DYNDNS2_ROUTES.contains(&route) => "/nic/update",
        // How axum names the fallback, which `compat.sftdyn` has.
        "/{*__private__axum_fallback}" => "/{key}",
        route => route,
    }
}

#[test]
fn every_route_is_described_and_no_other() {
    let compat = "{sftdyn: true, dynahost: {silo: home, hostnames: [nas]}}";
    let compat = serde_yaml::from_str(compat).unwrap();
    let mut routed = paths(&own_routes().into());
    routed.extend(paths(&routes(&compat, &[]).routes));
    let routed: BTreeSet<&str> = routed.iter().map(|route| described_as(route)).collect();
    let json = json();
    let described = json["paths"].as_object().unwrap().keys();
    assert_eq!(routed, described.map(String::as_str).collect());
}

#[test]
fn operations_have_ids_of_their_own() {
    let json = json();
    let mut ids = BTreeSet::new();
    for (path, item) in json["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str();
            let id = id.unwrap_or_else(|| panic!("{method} {path} has no id"));
            assert!(ids.insert(id), "{id} is there twice");
        }
    }
    assert!(ids.len() > 25, "{ids:?}");
}
