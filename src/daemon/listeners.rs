//! The HTTP listeners: bound first, served once there is something to serve.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::start_error::StartError;
use crate::config::HostPort;

/// Connections that may wait to be taken, as far as the system allows (`net.core.somaxconn`). Clients that come back after
/// an outage come all at once; one that finds no room tries again after a whole second.
const BACKLOG: u32 = 4096;

/// A bound listener and its real address.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) address: String,
}

/// Binds; port 0 lets the system choose.
pub(super) async fn bind(address: &HostPort, flag: &'static str) -> Result<Bound, StartError> {
    let failed = |source| StartError::Listen { address: address.to_string(), flag, source };
    let host = address.host().trim_start_matches('[').trim_end_matches(']');
    let listener = listen(host, address.port()).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    Ok(Bound { listener, address })
}

/// Listens at the first address of the host where that is possible.
async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut result = Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has no address"));
    for address in lookup_host((host, port)).await? {
        result = listen_at(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that starts again takes its port over from connections that are only waiting to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
