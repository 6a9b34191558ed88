//! Finds the local address that the system would use towards the hub or another address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::select::Candidate;
use super::{DiscoverError, ipv6_table, look_up};
use crate::settings::Settings;

/// The discard port (RFC 863); nothing is sent there.
const PORT: u16 = 9;

/// The local address towards `target`, or else towards the hub, for each family of its name. A family without a route
/// is not an error if the other has one.
pub(super) async fn find(
    settings: &Settings,
    target: Option<IpAddr>,
) -> Result<Vec<Candidate>, DiscoverError> {
    let targets: Vec<SocketAddr> = match target {
        Some(ip) => vec![SocketAddr::new(ip, PORT)],
        None => {
            let all = look_up_hub(settings).await?;
            let first = |of_family: fn(&SocketAddr) -> bool| all.iter().copied().find(of_family);
            [first(SocketAddr::is_ipv4), first(SocketAddr::is_ipv6)]
                .into_iter()
                .flatten()
                .collect()
        }
    };
    let mut found = Vec::new();
    let mut failure = None;
    for target in targets {
        match local_address(target, settings.bind_interface.as_deref()) {
            Ok(ip) => found.push(Candidate::from(stable(ip).unwrap_or(ip))),
            Err(cause) => {
                let error = DiscoverError::NoRoute {
                    target: target.ip().to_string(),
                    cause,
                };
                tracing::debug!("one family skipped: {error}");
                failure = failure.or(Some(error));
            }
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// The addresses of the first hub whose name has any.
async fn look_up_hub(settings: &Settings) -> Result<Vec<SocketAddr>, DiscoverError> {
    let mut failure = None;
    for hub in settings.connection.hubs() {
        match look_up(&hub.url).await {
            Ok(found) => return Ok(found),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.expect("a connection has at least one hub"))
}

/// The stable address to send from instead of a temporary one that the system would choose (Windows, and Linux with
/// `use_tempaddr=2`); `None`: keep the system's choice.
pub(super) fn stable_source(target: SocketAddr, interface: Option<&str>) -> Option<IpAddr> {
    stable(local_address(target, interface).ok()?)
}

/// The stable address with the same prefix, if this one is temporary. Only on Linux and Windows.
fn stable(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = ip else {
        return None;
    };
    if cfg!(not(any(target_os = "linux", windows))) {
        return None;
    }
    match ipv6_table::read() {
        Ok(all) => ipv6_table::stable_instead_of(v6, &all).map(IpAddr::V6),
        Err(error) => {
            tracing::warn!("cannot tell whether {v6} is a temporary address: {error}");
            None
        }
    }
}

/// Connecting a UDP socket sends nothing: the system only chooses a route and its source address (connect(2), ip(7)).
fn local_address(target: SocketAddr, interface: Option<&str>) -> io::Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    if let Some(interface) = interface {
        bind(&socket, interface)?;
    }
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// Binds a socket to an interface (socket(7), `SO_BINDTODEVICE`).
#[cfg(target_os = "linux")]
fn bind(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    socket2::SockRef::from(socket)
        .bind_device(Some(interface.as_bytes()))
        .map_err(|error| {
            io::Error::new(error.kind(), format!("bind_interface {interface}: {error}"))
        })
}

/// The settings refuse `bind_interface` with `route` on this system.
#[cfg(not(target_os = "linux"))]
fn bind(_: &UdpSocket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
