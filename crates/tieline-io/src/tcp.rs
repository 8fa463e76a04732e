//! What a TCP connection that is passed on must be told: to send at once, to notice a peer that is gone, and to break when it is dropped.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Silence after which the peer is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Questions without an answer after which the peer is gone.
const KEEPALIVE_TRIES: u32 = 4;

/// Has `socket` send what it is given at once, find out when its peer is gone, and break when it is dropped ([`end_well`]).
///
/// # Errors
///
/// What the kernel said.
pub fn pass_on(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES))?;
    // Also when this process is killed: the peer sees a reset, never an end.
    socket.set_linger(Some(Duration::ZERO))
}

/// Has `socket` break no more when it is dropped, for a connection that has ended in both directions: what it was given still goes out.
///
/// # Errors
///
/// What the kernel said.
pub fn end_well(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(None)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        (near, listener.accept().expect("accepted").0)
    }

    #[test]
    fn connection_that_is_dropped_breaks() {
        let (near, mut far) = pair();
        pass_on(&near).expect("set");
        drop(near);
        assert_eq!(far.read(&mut [0; 8]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn connection_that_has_ended_well_gives_away_all_it_was_given() {
        let (mut near, mut far) = pair();
        pass_on(&near).expect("set");
        near.write_all(b"all of it").expect("written");
        end_well(&near).expect("set");
        drop(near);
        let mut came = Vec::new();
        far.read_to_end(&mut came).expect("an end");
        assert_eq!(came, b"all of it");
    }
}
