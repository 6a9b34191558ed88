//! Puts the OpenAPI document together: the REST interface and the foreign protocols.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use silo_shared::api::Problem;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

use super::{dyndns2, update_key};
use crate::http::openapi::{Document, bodies, names, problem_sets, tags};
use crate::http::{own_routes, root_route};

/// The description in Markdown.
const DESCRIPTION: &str = include_str!("openapi.md");

/// The document that every hub of this version serves.
pub fn document() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::new(&describe()));
    &DOCUMENT
}

/// The foreign protocols, whose handlers check the methods themselves.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    dyndns2::update,
    update_key::below_u,
    update_key::below_root,
    empty_key,
    dynahost_update,
    dynahost_log
))]
struct ForeignProtocols;

/// The same as `/nic/update`.
const V3_UPDATE: &str = "/v3/update";

/// Returns the address that the request comes from
///
/// What is below `/u/`, without a key.
#[utoipa::path(
    get,
    path = "/u/",
    operation_id = "readAddressByEmptyKey",
    tag = tags::FOREIGN,
    security(()),
    responses(
        (status = 200, description = "The address.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        (status = 500, description = "`FAIL`: a proxy does not name the client.", body = String, content_type = "text/plain", headers(("Cache-Control" = String))),
        problem_sets::EmptyKey,
    ),
)]
#[expect(dead_code, reason = "the handler is that of all keys")]
fn empty_key() {}

/// Sets a record to the address that the request comes from, by the dynahost protocol
///
/// Only with `compat.dynahost`; else 404. The parameters may also come as a form. See docs/dynahost.md.
#[utoipa::path(
    method(get, post),
    path = "/update",
    operation_id = "updateDynahost",
    tag = tags::FOREIGN,
    security(()),
    params(
        ("secid" = String, Query),
        ("host" = String, Query),
        ("backend" = Option<String>, Query),
        ("login" = Option<String>, Query),
        ("pass" = Option<String>, Query),
        ("email" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "`OK`", body = String, content_type = "text/plain", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String))),
        (status = "4XX", description = "A line that says what is wrong. 404: the protocol is not configured.", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String), ("Retry-After" = String)), content((String = "text/plain"), (Problem = "application/problem+json"))),
        (status = "5XX", description = "A line that says what is wrong.", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String), ("Retry-After" = String)), content((String = "text/plain"), (Problem = "application/problem+json"))),
    ),
)]
#[expect(
    dead_code,
    reason = "the handler is a method, which takes no such attribute"
)]
fn dynahost_update() {}

/// Shows the changes of a record, by the dynahost protocol
///
/// Only with `compat.dynahost`; else 404.
#[utoipa::path(
    method(get, post),
    path = "/log",
    operation_id = "readDynahostLog",
    tag = tags::FOREIGN,
    security(()),
    params(("secid" = String, Query), ("host" = String, Query)),
    responses(
        (status = 200, description = "A page of HTML.", body = String, content_type = "text/html", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String))),
        (status = "4XX", description = "A line that says what is wrong. 404: the protocol is not configured.", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String), ("Retry-After" = String)), content((String = "text/plain"), (Problem = "application/problem+json"))),
        (status = "5XX", description = "A line that says what is wrong.", headers(("Cache-Control" = String), ("Content-Security-Policy" = String), ("Referrer-Policy" = String), ("Retry-After" = String)), content((String = "text/plain"), (Problem = "application/problem+json"))),
    ),
)]
#[expect(
    dead_code,
    reason = "the handler is a method, which takes no such attribute"
)]
fn dynahost_log() {}

fn describe() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Silo hub")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new()
                .name(env!("CARGO_PKG_LICENSE"))
                .identifier(Some(env!("CARGO_PKG_LICENSE")))
                .build(),
        ));
    let tags = tags::ALL.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    let mut api = OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .tags(Some(tags))
        .security(Some(
            SECURITY.map(|name| SecurityRequirement::new(name, NO_SCOPES)),
        ))
        .build();
    api.merge(root_route().into_openapi());
    api.merge(own_routes().into_openapi());
    api.merge(ForeignProtocols::openapi());
    let update = api.paths.paths.get("/nic/update").cloned();
    api.paths
        .paths
        .extend(update.map(|update| (V3_UPDATE.to_owned(), update)));
    name_operations(&mut api);
    for item in api.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            names::describe(operation);
        }
    }
    let components = api.components.get_or_insert_default();
    components
        .schemas
        .insert("Problem".to_owned(), Problem::schema());
    let mut referred = Vec::new();
    Problem::schemas(&mut referred);
    components.schemas.extend(referred);
    for (name, mut response) in problem_sets::components() {
        names::refer_to_headers(&mut response);
        components.responses.insert(name, response.into());
    }
    names::add_components(components);
    for (name, scheme) in SECURITY.into_iter().zip(schemes()) {
        components
            .security_schemes
            .insert(name.to_owned(), scheme.into());
    }
    bodies::close(components);
    api
}

/// The ways to show a credential that OpenAPI has schemes for; each is enough. Signatures are described in words.
const SECURITY: [&str; 2] = ["bearer", "basic"];
const NO_SCOPES: [&str; 0] = [];

fn schemes() -> [SecurityScheme; 2] {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("silo_<id>_<secret>")
        .description(Some(
            "The credential of a token: `silo_`, the token's id, `_` and the secret.",
        ));
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some(
            "The credential as password, with any user name. DDNS clients may name the silo by the user name.",
        ));
    [
        SecurityScheme::Http(bearer.build()),
        SecurityScheme::Http(basic.build()),
    ]
}

/// The operations of a path, by method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Gives each operation an id of its own: some handlers answer several methods or routes.
fn name_operations(api: &mut OpenApi) {
    let mut known = BTreeSet::new();
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            let Some(id) = &mut operation.operation_id else {
                continue;
            };
            if path == V3_UPDATE {
                id.push_str("V3");
            }
            if known.contains(id) {
                let (first, rest) = method.split_at(1);
                id.push_str(&format!("By{}{rest}", first.to_uppercase()));
            }
            known.insert(id.clone());
        }
    }
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
