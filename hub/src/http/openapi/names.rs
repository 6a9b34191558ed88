//! What parameters and headers mean, wherever they occur: attributes of handlers only name them. Each has the same
//! meaning everywhere.

use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Components, HeaderBuilder, Ref, RefOr, Required, Response, Schema};

use super::values::{self, AgentField, AppliedField, EntityTags, EventId, Preferences};

/// The parameters, with their descriptions in Markdown.
const PARAMETERS: &[(&str, &str)] = &[
    ("id", "The silo."),
    ("hostname", "The hostname; in a list: only its entries."),
    ("token", "The token."),
    ("invitation", "The invitation."),
    ("delivery", "The delivery."),
    ("slug", "The last segment of a problem's `type`."),
    (
        "key",
        "An update key: everything after the slash, as it is sent.",
    ),
    (
        "limit",
        "How many entries to answer at most. `Link` leads to the next page.",
    ),
    (
        "after",
        "Only entries after this one; from a `Link` of the hub.",
    ),
    (
        "cursor",
        "Where to go on; from a `Link` of the hub. Other values are refused (422).",
    ),
    ("myip", "One or two addresses, separated by a comma."),
    ("myipv6", "The IPv6 address."),
    ("secid", "The secret that belongs to the hostname."),
    ("host", "The hostname."),
    ("backend", "The sink that publishes the name."),
    ("login", "The login there."),
    ("pass", "The password there."),
    ("email", "A mail address to inform of changes."),
    (
        "q",
        "Only records whose hostname, address or comment has this text.",
    ),
    ("address", "Only records with this address."),
    ("format", "The form of the answer, whatever `Accept` says."),
    ("family", "Only the address of this family."),
    ("full", "Whether events have the whole silo."),
    ("state", "Only entries in this state."),
    ("sink", "Only entries of this sink."),
    (
        "If-Match",
        "Do this only if the present entity tag is one of these; else 412.",
    ),
    (
        "If-None-Match",
        "On reads: answer 304 if the present entity tag is one of these. On writes: do this only if it is none of these, `*`: \
         only if nothing is there; else 412.",
    ),
    (
        "Prefer",
        "On reads, `wait=SECONDS` (at most 300): answer once the entity tag differs from `If-None-Match`, or once there is something, \
         else at the end; a wait that can't be understood is a second. On writes, `return=minimal`: answer without the document.",
    ),
    (
        "Last-Event-ID",
        "The id of the last event that was received. Without it, and with an unknown one, the stream begins with the state.",
    ),
    (
        "Silo-Agent",
        "The agent that sends this, for the list of agents. A value that can't be understood is ignored.",
    ),
    (
        "Silo-Applied",
        "What the agent has applied, for the list of agents. A value that can't be understood is ignored.",
    ),
];

/// A header of answers: its description in Markdown, a pattern of its value, and an example.
struct Header {
    name: &'static str,
    description: &'static str,
    pattern: &'static str,
    example: &'static str,
}

macro_rules! headers {
    ($($name:literal: $description:literal, $pattern:literal, $example:literal;)*) => {
        const HEADERS: &[Header] = &[$(Header {
            name: $name,
            description: $description,
            pattern: $pattern,
            example: $example,
        }),*];
    };
}

headers! {
    "ETag": "The entity tag of what is answered, or with 412 of what is there.",
        "^\"[!#-~]*\"$", "\"1767323045678001\"";
    "Cache-Control": "How long the answer may be kept.", "^[ -~]+$", "private, no-cache";
    "Vary": "The request headers on which the answer depends.", "^[ -~]+$", "Accept";
    "Link": "Where the next page is, if there is one.",
        "^<[ -=?-~]+>; rel=\"next\"$", "</silos?limit=1000&after=office>; rel=\"next\"";
    "Location": "Where what was made is.", "^/[!-~]*$", "/silos/office";
    "Content-Location": "Where the answered document is.", "^/[!-~]*$", "/silos/office";
    "Content-Security-Policy": "What a browser may load for a page of this hub.", "^[ -~]+$", "default-src 'none'";
    "Referrer-Policy": "No link passes this address on.", "^no-referrer$", "no-referrer";
    "Retry-After": "After how many seconds to try again.", "^[0-9]+$", "5";
    "WWW-Authenticate": "How to show a credential.", "^(Basic|Bearer) realm=\"silo\"", "Bearer realm=\"silo\"";
    "Accept-Encoding": "The content codings of requests that the hub takes: none.", "^identity$", "identity";
    "Preference-Applied": "The preference that the hub followed.", "^(wait=[0-9]+|return=minimal)$", "wait=30";
    "Silo-Changed": "Whether the write changed anything (a boolean of RFC 9651).", "^\\?[01]$", "?1";
    "Silo-Stale": "For how many seconds the database has not answered. The answer is what the hub knew then.",
        "^[0-9]+$", "12";
    "Silo-Database": "The id of the hub's database. A backup that was restored gets another one.",
        "^\"[0-9a-f]{32}\"$", "\"0123456789abcdef0123456789abcdef\"";
    "Silo-Request": "The id of the request, which each line about it in the hub's log has. With every problem, and else if the log has such a line.",
        "^[0-9a-f]{16}$", "9f86d081884c7d65";
    "X-Accel-Buffering": "Keeps nginx from holding events back.", "^no$", "no";
    "X-Content-Type-Options": "Browsers must believe `Content-Type`.", "^nosniff$", "nosniff";
}

/// The headers that every answer may have.
const OF_EVERY_ANSWER: [&str; 3] = ["Silo-Database", "Silo-Request", "X-Content-Type-Options"];

/// Describes the parameters of an operation and names the headers of its responses.
pub(crate) fn describe(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(described) = parameter else {
            continue;
        };
        describe_parameter(described);
        if described.parameter_in == ParameterIn::Header {
            *parameter = refer("parameters", &described.name);
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            refer_to_headers(response);
        }
    }
}

fn refer<T>(kind: &str, name: &str) -> RefOr<T> {
    RefOr::Ref(Ref::new(format!("#/components/{kind}/{name}")))
}

fn describe_parameter(parameter: &mut Parameter) {
    let known = PARAMETERS.iter().find(|(name, _)| *name == parameter.name);
    let (_, description) = known.expect("every parameter has a description here");
    parameter.description = Some((*description).to_owned());
    if let Some(RefOr::T(Schema::OneOf(choice))) = &mut parameter.schema {
        // What is left out is not `null`.
        let is_null = |schema: &RefOr<Schema>| matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == Type::Null.into());
        let given = choice.items.iter().find(|schema| !is_null(schema)).cloned();
        parameter.schema = given;
    }
}

/// Makes the headers of a response refer to their descriptions, and adds those of every answer.
pub(crate) fn refer_to_headers(response: &mut Response) {
    let own: Vec<_> = response.headers.keys().cloned().collect();
    for name in own.iter().map(String::as_str).chain(OF_EVERY_ANSWER) {
        let is_known = HEADERS.iter().any(|known| known.name == name);
        assert!(is_known, "every header has a description here");
        response
            .headers
            .insert(name.to_owned(), refer("headers", name));
    }
}

/// What operations and responses refer to.
pub(crate) fn add_components(components: &mut Components) {
    for known in HEADERS {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(known.pattern))
            .examples([known.example]);
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(known.description));
        components
            .headers
            .insert(known.name.to_owned(), RefOr::T(header.build()));
    }
    for (name, schema) in [
        ("If-Match", EntityTags::name()),
        ("If-None-Match", EntityTags::name()),
        ("Prefer", Preferences::name()),
        ("Last-Event-ID", EventId::name()),
        ("Silo-Agent", AgentField::name()),
        ("Silo-Applied", AppliedField::name()),
    ] {
        let mut parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .schema(Some(Ref::from_schema_name(schema)))
            .build();
        describe_parameter(&mut parameter);
        components
            .parameters
            .insert(name.to_owned(), RefOr::T(parameter));
    }
    components.schemas.extend(values::schemas());
}
