//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Listens on an address. `[::]` takes IPv4 too, on every system.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if cfg!(windows) && address.is_ipv6() {
        listen_on_both(address)
    } else {
        TcpListener::bind(address)
    }
}

/// Where the system's default is IPv6 alone (IPV6_V6ONLY, which Windows sets on every socket). Does not set
/// SO_REUSEADDR: on Windows another program could then listen on the same port.
fn listen_on_both(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    /// As std has it.
    const BACKLOG: i32 = 128;
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(!address.ip().is_unspecified())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    #[test]
    fn the_unspecified_ipv6_address_takes_both_families() {
        for listen in [listen, listen_on_both] {
            let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
            let port = listener.local_addr().unwrap().port();
            for address in [
                SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
                SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            ] {
                TcpStream::connect(address).unwrap();
                let (_, peer) = listener.accept().unwrap();
                assert_eq!(peer.ip().to_canonical(), address.ip());
            }
        }
    }

    #[test]
    fn another_ipv6_address_takes_its_family_alone() {
        for listen in [listen, listen_on_both] {
            let listener = listen((Ipv6Addr::LOCALHOST, 0).into()).unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        }
    }
}
