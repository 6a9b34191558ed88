//! The cookies: names, flags, and how they are read.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::auth::secrets::SessionId;
use crate::domain::session::LONGEST_SECONDS;
use crate::follow::database_id::KnownDatabaseId;
use crate::http::site::{PAGES, Site};

const YEAR_SECONDS: i64 = 365 * 86_400;

/// The name of a session's cookie. Cookies are sent to every port of a host name, so the name has the database and the
/// port: two hubs on one host name do not sign each other out. Over TLS `__Secure-` keeps pages without TLS from setting
/// it; `__Host-` would demand `Path=/`, and then the interface would receive it as well.
pub(super) fn name(database: &KnownDatabaseId, site: &Site) -> String {
    let id = database.id().to_string();
    let digits = &id[..8];
    let prefix = if site.is_tls() { "__Secure-" } else { "" };
    format!("{prefix}silo_{digits}_{}", site.port())
}

/// `Set-Cookie` of a session.
pub(super) fn of_session(database: &KnownDatabaseId, site: &Site, id: &SessionId) -> HeaderValue {
    set(&name(database, site), &id.expose(), LONGEST_SECONDS, site)
}

/// `Set-Cookie` that removes a session's cookie.
pub(super) fn without_session(database: &KnownDatabaseId, site: &Site) -> HeaderValue {
    set(&name(database, site), "", 0, site)
}

/// `Set-Cookie` of a choice that is no secret.
pub(in crate::dashboard) fn of_choice(name: &str, value: &str, site: &Site) -> HeaderValue {
    set(name, value, YEAR_SECONDS, site)
}

fn set(name: &str, value: &str, seconds: i64, site: &Site) -> HeaderValue {
    let secure = if site.is_tls() { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path={PAGES}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut header =
        HeaderValue::try_from(text).expect("names and values of cookies are plain ASCII");
    header.set_sensitive(true);
    header
}

/// The values of all cookies with a name, over all lines.
pub(in crate::dashboard) fn values<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; silo_x=2;silo_xy=3".parse().unwrap());
        headers.append(COOKIE, "silo_x=4; b; =5".parse().unwrap());
        let found: Vec<_> = values(&headers, "silo_x").collect();
        assert_eq!(found, ["2", "4"]);
        assert_eq!(values(&headers, "silo").count(), 0);
    }
}
