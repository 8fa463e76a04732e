//! The end that has a service: the far end asks for it by name, and here it is connected.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use noq::Connection;
use tieline_wire::control::PortProtocol;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::{CONNECTIONS_MAX, Port, PortTable, datagrams, figures::Reason, tcp, udp};
use crate::config::{DialAddress, Host, PortSide};
use crate::streams::{Circuit, accept, refuse};

/// How long a service may take to answer: the far end waits for 15 s.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Serves a stream that asks for the service that is called `name`.
pub(crate) async fn serve(
    table: &PortTable,
    connection: &Connection,
    circuit: Circuit,
    name: &str,
    protocol: PortProtocol,
) {
    let Ok(_place) = table.0.served.try_acquire() else {
        return refuse(
            circuit,
            &format!("{CONNECTIONS_MAX} connections are open, as many as a line carries"),
        )
        .await;
    };
    let (port, address) = match find(table, name, protocol) {
        Ok(found) => found,
        Err(reason) => return refuse(circuit, &reason).await,
    };
    let connected = match protocol {
        PortProtocol::Udp => udp_service(address).await.map(Service::Udp),
        PortProtocol::Tcp | PortProtocol::Unknown => tcp_service(address).await.map(Service::Tcp),
    };
    match connected {
        Ok(service) => {
            port.figures.on_reached(name);
            join(table, connection, circuit, port, service).await;
        }
        Err(error) => {
            let reason = format!("the service is not reached at {address}: {error}");
            port.figures.on_refused(name, Reason::NotReached, &reason);
            // Where it is, is nothing for the far end to know.
            refuse(circuit, &format!("the service of this name is not reached: {error}")).await;
        }
    }
}

enum Service {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

async fn join(
    table: &PortTable,
    connection: &Connection,
    mut circuit: Circuit,
    port: &Arc<Port>,
    service: Service,
) {
    match service {
        Service::Tcp(socket) => {
            if accept(&mut circuit).await
                && let Err(broken) = tcp::join(circuit, socket, port, None).await
            {
                port.on_broken(broken);
            }
        }
        Service::Udp(socket) => {
            // From the answer on, datagrams come.
            let stream = u64::from(circuit.send.id());
            let datagrams = datagrams::open(table, connection.clone(), stream, port);
            if accept(&mut circuit).await
                && let Err(error) =
                    udp::carry(circuit, datagrams, udp::Side::Service(socket), port, None).await
            {
                tracing::debug!(name = port.config.name.as_str(), %error, "a client's datagrams ended");
            }
        }
    }
}

fn find<'t>(
    table: &'t PortTable,
    name: &str,
    protocol: PortProtocol,
) -> Result<(&'t Arc<Port>, &'t DialAddress), String> {
    let mut named = table.0.ports.iter().filter(|port| port.config.name.as_str() == name).peekable();
    if named.peek().is_none() {
        return Err("this end has no port of this name; its configuration names those that it has".to_owned());
    }
    let Some(port) = named.find(|port| port.config.protocol == protocol) else {
        return Err("the port of this name has another protocol at this end".to_owned());
    };
    match &port.config.side {
        PortSide::To(address) => Ok((port, address)),
        PortSide::Listen(_) => Err(
            "the port of this name has `listen` at both ends; one of them needs `to`, where the service is"
                .to_owned(),
        ),
    }
}

async fn tcp_service(address: &DialAddress) -> io::Result<TcpStream> {
    let connecting = async {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses(address).await? {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let socket =
        timeout(CONNECT_WAIT_MAX, connecting).await.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    tieline_io::tcp::pass_on(&socket)?;
    Ok(socket)
}

async fn udp_service(address: &DialAddress) -> io::Result<UdpSocket> {
    let looked_up = timeout(CONNECT_WAIT_MAX, addresses(address)).await;
    let addresses = looked_up.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    let address = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

async fn addresses(address: &DialAddress) -> io::Result<Vec<SocketAddr>> {
    match address.host() {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, address.port())]),
        Host::Name(name) => Ok(lookup_host((name.as_str(), address.port())).await?.collect()),
    }
}
