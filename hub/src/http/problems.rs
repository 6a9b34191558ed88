//! The kinds of problems that an error can name as its `type` (RFC 9457 section 3.1.1), and what the page behind each
//! of them says. `docs/http-errors.md` has the same texts; a test compares them.

use askama::Template;
use axum::http::StatusCode;

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The last segment of `type`.
    pub(crate) slug: &'static str,
    /// The status of every answer with this problem.
    pub(crate) status: StatusCode,
    /// The `title` of every answer with this problem.
    pub(crate) title: &'static str,
    /// When it occurs. What is code is in backquotes.
    meaning: &'static str,
    /// What the caller can do; empty where that is plain. What is code is in backquotes.
    remedy: &'static str,
}

/// Declares the kinds and lists them, so that no kind is without its page.
macro_rules! kinds {
    ($($name:ident: $status:ident, $slug:literal, $title:literal, $meaning:literal, $remedy:literal;)*) => {
        $(pub(super) static $name: Kind = Kind {
            slug: $slug,
            status: StatusCode::$status,
            title: $title,
            meaning: $meaning,
            remedy: $remedy,
        };)*
        /// Every kind, in the order of the statuses.
        pub(super) static ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    MALFORMED: BAD_REQUEST, "malformed", "The request cannot be read",
        "the request or its JSON cannot be read, or an HTTP/1.1 request has no valid `Host` or two",
        "correct the syntax; an entity tag is written in double quotes";
    UNAUTHORIZED: UNAUTHORIZED, "unauthorized", "A valid credential is needed",
        "no credential, or one that is unknown, revoked or expired; or a signature that is incomplete or wrong",
        "send `Authorization: Bearer silo_…`, or Basic with the credential as password, or sign the request";
    CLOCK: UNAUTHORIZED, "clock", "The clocks differ too much",
        "a signature was made more than 300 s before or after the hub's time, which `Date` shows",
        "set the clock";
    REPLAY: UNAUTHORIZED, "replay", "This request was received before",
        "a signed request was received before",
        "sign each try again, with another nonce";
    ORDER: UNAUTHORIZED, "order", "This was signed too early",
        "a signed write is older than one to the same place that was accepted; or a signed request is older than the restore of the hub's database from a copy",
        "of a write that a newer one replaced: nothing. Else sign it again; if that is refused for longer than a second, set the clock";
    FORBIDDEN: FORBIDDEN, "forbidden", "Insufficient permissions",
        "the token does not permit this, or a page of another site sent the write",
        "use a token whose role, silos and hostnames allow it";
    UNENCRYPTED: FORBIDDEN, "unencrypted", "This needs TLS, or a signature",
        "the listener without TLS takes only `/ping` and signed requests, but none that makes or rotates a token",
        "call the hub at `https://`, or sign";
    NOT_FOUND: NOT_FOUND, "not-found", "Not found",
        "no such route, silo, record or token; also a silo that the token may not read",
        "";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not allowed here",
        "the route has no such method",
        "see the `Allow` header";
    TIMEOUT: REQUEST_TIMEOUT, "timeout", "The request came too slowly",
        "the body took longer than 30 s, or came slowly while others waited for its memory",
        "";
    INVITATION_REPLACED: CONFLICT, "invitation-replaced", "Another machine has this invitation",
        "another machine redeemed this invitation after this one; or the hub does not know that it was redeemed",
        "redeem it again, if no other machine should have it; the audit log has the addresses of both";
    TOO_MANY_INVITATIONS: CONFLICT, "too-many-invitations", "Too many invitations are open",
        "100 invitations are open",
        "revoke some, or wait until some have expired";
    INVITATION_EXPIRED: GONE, "invitation-expired", "The invitation has expired",
        "the invitation was not used in time",
        "ask for another one";
    INVITATION_REVOKED: GONE, "invitation-revoked", "The invitation was revoked",
        "the invitation was revoked, or ended when the hub's database was restored or imported into, or its key replaced",
        "ask for another one";
    INVITATION_USED: GONE, "invitation-used", "The invitation was used",
        "the invitation has made its token; it makes one, once",
        "ask for another one; if no machine of yours used it, revoke the token that `GET /invitations` shows";
    PRECONDITION: PRECONDITION_FAILED, "precondition-failed", "Precondition failed",
        "`If-Match`, `If-None-Match` or the body's `revision` does not hold; on a read, `If-Match`. `ETag` is the present tag",
        "read again, decide again";
    TOO_LARGE: PAYLOAD_TOO_LARGE, "too-large", "The body is too large",
        "the body has more than 1 MiB, or a form of another protocol more than 64 KiB",
        "";
    MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not JSON",
        "the body's `Content-Type` is not JSON",
        "send `application/json`, or no `Content-Type`";
    CONTENT_ENCODING: UNSUPPORTED_MEDIA_TYPE, "content-encoding", "The body is compressed",
        "the body has a `Content-Encoding` other than `identity`",
        "send the body uncompressed, without `Content-Encoding`";
    INVALID: UNPROCESSABLE_ENTITY, "invalid", "The request holds a wrong value",
        "a value is wrong; `errors` says which",
        "";
    TOO_MANY_FAILURES: TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong credentials",
        "more than ten wrong credentials a minute from this address",
        "wait for `Retry-After` seconds; requests with valid tokens are still answered";
    TOO_MANY_REQUESTS: TOO_MANY_REQUESTS, "too-many-requests", "Too many requests of this token",
        "the token has used up its requests for this minute (`limits.requests_per_minute`)",
        "wait for `Retry-After` seconds";
    INTERNAL: INTERNAL_SERVER_ERROR, "internal", "The hub failed",
        "the hub failed; the cause is in its log",
        "";
    UNAVAILABLE: SERVICE_UNAVAILABLE, "unavailable", "The hub cannot do this at the moment",
        "the database cannot be reached or takes no writes, too many bodies are being received (`limits.body_mib`), or the hub is stopping",
        "try again after `Retry-After` seconds; the hub's log names the database, and the disk if it is full";
    OUTCOME_UNKNOWN: SERVICE_UNAVAILABLE, "outcome-unknown", "The hub does not know whether this was done",
        "the database did not say in time whether the write was committed: it may have been carried out",
        "read before you repeat; `Retry-After` says when";
    CALLER_UNKNOWN: SERVICE_UNAVAILABLE, "caller-unknown", "The hub cannot tell where this comes from",
        "a proxy of `trusted_proxies` passed the request on and did not name the client in `X-Forwarded-For` or `Forwarded`",
        "have the proxy set `X-Forwarded-For` to the address of its peer, or take it out of `trusted_proxies`";
}

impl Kind {
    /// The kind as an item of a list in Markdown.
    pub(super) fn markdown(&self) -> String {
        let Self {
            slug,
            meaning,
            remedy,
            ..
        } = self;
        if remedy.is_empty() {
            format!("- `/problems/{slug}`: {meaning}.")
        } else {
            format!("- `/problems/{slug}`: {meaning}. What to do: {remedy}.")
        }
    }

    /// The page as text.
    pub(super) fn text(&self) -> String {
        let Self {
            slug,
            status,
            title,
            meaning,
            remedy,
        } = self;
        let status = status.as_u16();
        let mut text = format!("{title}\n\n{status} /problems/{slug}\n\nWhen: {meaning}.\n");
        if !remedy.is_empty() {
            text += &format!("What to do: {remedy}.\n");
        }
        text
    }

    /// The page for browsers.
    pub(super) fn html(&self) -> String {
        let page = ProblemPage {
            slug: self.slug,
            status: self.status.as_u16(),
            title: self.title,
            meaning: marked(self.meaning),
            remedy: marked(self.remedy),
        };
        page.render().expect("writing to a String never fails")
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    slug: &'static str,
    status: u16,
    title: &'static str,
    meaning: Vec<Part>,
    /// Empty if there is nothing to do.
    remedy: Vec<Part>,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    text: &'static str,
    is_code: bool,
}

/// A text's parts; what is in backquotes is code.
fn marked(text: &'static str) -> Vec<Part> {
    let parts = text.split('`').enumerate();
    parts
        .map(|(number, text)| Part {
            text,
            is_code: number % 2 == 1,
        })
        .filter(|part| !part.text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_documentation_has_the_same_table() {
        let mut table = "| `type` | status | means | what to do |\n|---|---|---|---|\n".to_owned();
        for Kind {
            slug,
            status,
            meaning,
            remedy,
            ..
        } in ALL
        {
            let remedy = if remedy.is_empty() {
                String::new()
            } else {
                format!(" {remedy}")
            };
            let status = status.as_u16();
            table += &format!("| `/problems/{slug}` | {status} | {meaning} |{remedy} |\n");
        }
        let docs = include_str!("../../../docs/http-errors.md");
        assert!(
            docs.contains(&format!("\n{table}\n")),
            "it should have:\n{table}"
        );
    }

    #[test]
    fn slugs_differ_and_code_is_closed() {
        let slugs: HashSet<_> = ALL.iter().map(|kind| kind.slug).collect();
        assert_eq!(slugs.len(), ALL.len());
        for kind in ALL {
            for text in [kind.meaning, kind.remedy] {
                assert_eq!(text.matches('`').count() % 2, 0, "{text}");
                assert!(!text.ends_with('.'), "{text}");
            }
        }
    }

    #[test]
    fn pages_are_exact() {
        assert_eq!(
            UNENCRYPTED.text(),
            "This needs TLS, or a signature\n\n403 /problems/unencrypted\n\n\
             When: the listener without TLS takes only `/ping` and signed requests, but none that makes or rotates a token.\n\
             What to do: call the hub at `https://`, or sign.\n"
        );
        assert!(
            METHOD_NOT_ALLOWED
                .html()
                .contains("<p>What to do: see the <code>Allow</code> header.</p>")
        );
        assert!(TIMEOUT.html().contains(
            "<h1>The request came too slowly</h1>\n<p>408 <code>/problems/timeout</code></p>\n"
        ));
        let part = |text, is_code| Part { text, is_code };
        assert_eq!(
            marked("<a> `b&c`."),
            [part("<a> ", false), part("b&c", true), part(".", false)]
        );
        let page = ProblemPage {
            slug: "x",
            status: 400,
            title: "a < b",
            meaning: marked("<a> `b&c`"),
            remedy: Vec::new(),
        };
        assert_eq!(
            page.render().unwrap(),
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>a &#60; b</title></head>\n\
             <body>\n<h1>a &#60; b</h1>\n<p>400 <code>/problems/x</code></p>\n\
             <p>When: &#60;a&#62; <code>b&#38;c</code>.</p>\n</body>\n</html>"
        );
    }
}
