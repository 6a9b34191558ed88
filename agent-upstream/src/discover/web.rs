//! Asks web pages which address they see, separately over IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use silo_shared::client::{PageError, Route, read_page};
use silo_shared::lookup::look_up;
use silo_shared::silo::Family;
use thiserror::Error;

use super::select::Candidate;
use super::{DiscoverError, OverFamily, route};
use crate::settings::Settings;
use crate::source::WebPage;

/// The deadline of a page.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a page, in bytes.
const MAX_PAGE: usize = 4096;

/// Why a page gave no address.
#[derive(Debug, Error)]
pub(crate) enum WebError {
    /// The name of its host can't be looked up.
    #[error("its name cannot be looked up: {0}")]
    Lookup(std::io::Error),
    /// It can't be read.
    #[error(transparent)]
    Page(#[from] PageError),
    /// There is no address in it.
    #[error("contains no address")]
    NoAddress,
    /// The first address in it is of the other family than the connection.
    #[error("was asked over {asked} and shows {ip}")]
    OtherFamily {
        /// The family of the connection.
        asked: Family,
        /// The address.
        ip: IpAddr,
    },
}

impl WebError {
    /// Whether nothing answered over this family, which a machine may not have.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Lookup(_) | Self::Page(PageError::Unreachable(_))
        )
    }
}

/// The first address of the first page that has one, for each family that is looked for. A family over which no page has
/// an address of its own is left out.
pub(super) async fn find(
    settings: &Settings,
    pages: &[WebPage],
    include: impl Fn(Family) -> bool,
) -> Vec<OverFamily> {
    let mut answers: Vec<OverFamily> = Vec::new();
    for page in pages {
        let is_open = |family: Family| {
            let answer = answers.iter().find(|answer| answer.family == family);
            include(family) && answer.is_none_or(|answer| answer.answer.is_err())
        };
        let open = [Family::V4, Family::V6].map(|family| is_open(family).then_some(family));
        if open == [None, None] {
            break;
        }
        let asked = ask(settings, page, open).await;
        for new in asked {
            match answers.iter_mut().find(|old| old.family == new.family) {
                // The first error stays, unless only a later page could be reached.
                Some(old) if new.answer.is_ok() || old.is_unreachable() => *old = new,
                Some(_) => {}
                None => answers.push(new),
            }
        }
    }
    answers
}

/// Asks one page over these families.
async fn ask(settings: &Settings, page: &WebPage, open: [Option<Family>; 2]) -> Vec<OverFamily> {
    let failed = |family, cause| OverFamily {
        family,
        answer: Err(Arc::new(DiscoverError::Web {
            page: page.to_string(),
            cause,
        })),
    };
    let host = page.url().host_str().unwrap_or_default();
    let port = page.url().port_or_known_default().unwrap_or_default();
    let all = match look_up(host.trim_matches(['[', ']']), port).await {
        Ok(all) => all,
        Err(error) => {
            let kind = error.kind();
            let again = || std::io::Error::new(kind, error.to_string());
            let open = open.into_iter().flatten();
            return open
                .map(|family| failed(family, WebError::Lookup(again())))
                .collect();
        }
    };
    let [v4, v6] = open.map(|family| {
        let family = family?;
        let of_family = |at: &&SocketAddr| Family::of(at.ip()) == family;
        let addresses: Vec<SocketAddr> = all.iter().filter(of_family).copied().collect();
        (!addresses.is_empty()).then_some((family, addresses))
    });
    let ask_over = async |asked: Option<(Family, Vec<SocketAddr>)>| {
        let (family, addresses) = asked?;
        Some(match over(settings, page, family, addresses).await {
            Ok(ip) => OverFamily {
                family,
                answer: Ok(Candidate::from(ip)),
            },
            Err(cause) => failed(family, cause),
        })
    };
    let (v4, v6) = tokio::join!(ask_over(v4), ask_over(v6));
    [v4, v6].into_iter().flatten().collect()
}

/// Asks only at these addresses, which are of one family.
async fn over(
    settings: &Settings,
    page: &WebPage,
    family: Family,
    addresses: Vec<SocketAddr>,
) -> Result<IpAddr, WebError> {
    let interface = settings.bind_interface.clone();
    let first = addresses.first().copied();
    let route = Route {
        local_address: first.and_then(|at| route::stable_source(at, interface.as_deref())),
        addresses: Some(addresses),
        interface,
    };
    let body = read_page(page.url(), &route, TIMEOUT, MAX_PAGE).await?;
    let ip = first_address(&String::from_utf8_lossy(&body)).ok_or(WebError::NoAddress)?;
    if Family::of(ip) == family {
        Ok(ip)
    } else {
        Err(WebError::OtherFamily { asked: family, ip })
    }
}

/// The first address in a text, whatever is around it, such as JSON or HTML. IPv4-mapped IPv6 becomes IPv4.
fn first_address(text: &str) -> Option<IpAddr> {
    let is_around = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_'));
    text.split(is_around).find_map(|word| {
        let parse = |word: &str| word.parse::<IpAddr>().ok();
        // The end of a sentence, or a label: `IP:192.0.2.5.`
        let bare = word.trim_end_matches(['.', ':']);
        let after_label = || {
            let (label, rest) = bare.split_once(':')?;
            let is_label = label.chars().all(|c| c.is_ascii_alphabetic())
                && label.chars().any(|c| !c.is_ascii_hexdigit());
            is_label.then(|| parse(rest)).flatten()
        };
        let ip = parse(word).or_else(|| parse(bare)).or_else(after_label);
        ip.map(|ip| ip.to_canonical())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_in_a_page_is_found() {
        for (text, expected) in [
            ("192.0.2.5", "192.0.2.5"),
            ("192.0.2.5\n", "192.0.2.5"),
            ("\u{feff}192.0.2.5\r\n", "192.0.2.5"),
            ("2001:db8::5\n", "2001:db8::5"),
            ("::ffff:192.0.2.5", "192.0.2.5"),
            (r#"{"ip":"192.0.2.5","port":1234}"#, "192.0.2.5"),
            (r#"{"ip":"2001:db8::5"}"#, "2001:db8::5"),
            (
                "<html><body>Current IP Address: 192.0.2.5</body></html>",
                "192.0.2.5",
            ),
            ("Your address is 192.0.2.5.", "192.0.2.5"),
            ("IP:192.0.2.5", "192.0.2.5"),
            ("ip=192.0.2.5&from=192.0.2.6", "192.0.2.5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("2001:db8::5, 192.0.2.5", "2001:db8::5"),
            ("at 12:30:59 it was 192.0.2.5", "192.0.2.5"),
            ("::1", "::1"),
            ("", ""),
            ("no address: bad cafe", ""),
            ("192.0.2.256", ""),
            ("v192.0.2.5-rc1 1.2.3", ""),
            ("1.192.0.2.5", ""),
            ("x2001:db8::5", ""),
        ] {
            let found = first_address(text).map(|ip| ip.to_string());
            assert_eq!(found.unwrap_or_default(), expected, "{text}");
        }
    }
}
