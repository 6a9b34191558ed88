//! The groups of operations, in the order in which they are shown.

/// Without a credential.
pub(crate) const OPEN: &str = "Open";
/// Silos as a whole.
pub(crate) const SILOS: &str = "Silos";
/// Single records.
pub(crate) const RECORDS: &str = "Records";
/// Streams of changes.
pub(crate) const EVENTS: &str = "Events";
/// Tokens and what was done with them.
pub(crate) const TOKENS: &str = "Tokens";
/// How machines get their tokens.
pub(crate) const INVITATIONS: &str = "Invitations";
/// What the hub does and how it is.
pub(crate) const OPERATION: &str = "Operation";
/// Protocols of DDNS clients.
pub(crate) const FOREIGN: &str = "DDNS clients";

/// All groups, each with its description in Markdown.
pub(crate) const ALL: [(&str, &str); 8] = [
    (OPEN, "Needs no credential; one that is sent is ignored."),
    (
        SILOS,
        "A silo is a named group of hostname/address records. Reads need a token that may read the silo, `PUT` and \
         `DELETE` one that may write all of its hostnames.",
    ),
    (
        RECORDS,
        "A record is one hostname of a silo with at most one IPv4 and one IPv6 address.",
    ),
    (
        EVENTS,
        "Server-sent events: streams that do not end. A client that reconnects sends `Last-Event-ID` and misses nothing.",
    ),
    (
        TOKENS,
        "Tokens of callers. For admins, unless stated otherwise.",
    ),
    (
        INVITATIONS,
        "A line that gives one machine a token of its own, once, without the token in it. The machine's requests are signed with the \
         key in the line, which counts for nothing else.",
    ),
    (
        OPERATION,
        "The state of the hub and of its deliveries. For admins; metrics and status also for tokens with the role `metrics`.",
    ),
    (
        FOREIGN,
        "Protocols that routers and DDNS clients speak already; each answers in its own words. See \
         docs/ddns-clients.md, docs/update-keys.md and docs/dynahost.md.",
    ),
];
