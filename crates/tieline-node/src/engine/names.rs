//! The far end's name, where all else of this machine is held to the line: it is asked for past the rules, or a line that is down would
//! never come up.
//!
//! One question at a time goes to each of the resolvers that the system is set up with. What is answered is only where to dial: who answers
//! there, the handshake settles.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::{TryRngCore, rngs::OsRng};
use simple_dns::{CLASS, Name, Packet, Question, TYPE, rdata::RData};
use tieline_io::udp::marked_socket;
use tokio::{net::UdpSocket, time::timeout};

/// Files that say whom to ask; the first that names others than this machine itself.
const FILES: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
/// Resolvers that are asked, as the C library does.
const RESOLVERS_MAX: usize = 3;
const PORT: u16 = 53;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Octets of an answer without extensions (RFC 1035 §4.2.1); the few addresses of one name have room.
const ANSWER_LEN_MAX: usize = 512;
/// Datagrams looked at for one answer; others are somebody's who guesses.
const DATAGRAMS_MAX: usize = 8;

/// The addresses of `name`, asked with packets that bear `mark`; none if nobody answers.
pub(super) async fn look_up(name: &str, mark: u32) -> Vec<IpAddr> {
    for resolver in resolvers() {
        match ask_both(name, SocketAddr::new(resolver, PORT), mark).await {
            Ok(found) if !found.is_empty() => return found,
            Ok(_) => {}
            Err(error) => tracing::debug!(%resolver, %error, "a resolver does not answer"),
        }
    }
    Vec::new()
}

async fn ask_both(name: &str, resolver: SocketAddr, mark: u32) -> io::Result<Vec<IpAddr>> {
    let mut found = ask(name, TYPE::AAAA, resolver, mark).await?;
    found.extend(ask(name, TYPE::A, resolver, mark).await?);
    Ok(found)
}

async fn ask(name: &str, kind: TYPE, resolver: SocketAddr, mark: u32) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    OsRng.try_fill_bytes(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let socket = UdpSocket::from_std(marked_socket(resolver.ip(), mark)?)?;
    socket.connect(resolver).await?;
    socket.send(&question(id, name, kind)?).await?;
    let answered = async {
        let mut answer = [0; ANSWER_LEN_MAX];
        for _ in 0..DATAGRAMS_MAX {
            let length = socket.recv(&mut answer).await?;
            if let Some(found) = addresses(id, &answer[..length]) {
                return Ok(found);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    };
    timeout(ANSWER_WITHIN, answered).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn question(id: u16, name: &str, kind: TYPE) -> io::Result<Vec<u8>> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let mut packet = Packet::new_query(id);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(invalid)?;
    packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(invalid)
}

/// The addresses in the answer to question `id`; none if it is no such answer.
fn addresses(id: u16, answer: &[u8]) -> Option<Vec<IpAddr>> {
    let packet = Packet::parse(answer).ok()?;
    if packet.id() != id || !packet.has_flags(simple_dns::PacketFlag::RESPONSE) {
        return None;
    }
    let of_records = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(address) => Some(IpAddr::from(Ipv4Addr::from_bits(address.address))),
        RData::AAAA(address) => Some(IpAddr::from(Ipv6Addr::from_bits(address.address))),
        _ => None,
    });
    Some(of_records.collect())
}

/// Whom the system asks, but for itself.
fn resolvers() -> Vec<IpAddr> {
    let of_file = |file| named_in(&std::fs::read_to_string(file).unwrap_or_default());
    FILES.into_iter().map(of_file).find(|found| !found.is_empty()).unwrap_or_default()
}

fn named_in(text: &str) -> Vec<IpAddr> {
    let rows = text.lines().filter_map(|row| row.trim().strip_prefix("nameserver"));
    let named = rows.filter_map(|row| row.trim().parse::<IpAddr>().ok());
    named.filter(|ip| !ip.is_loopback()).take(RESOLVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_other_than_this_machine_are_read() {
        let text = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\nsearch example\n";
        assert_eq!(named_in(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(named_in("nameserver 127.0.0.53\nnameserver fe80::1%eth0"), [] as [IpAddr; 0]);
        assert_eq!(named_in(&"nameserver 192.0.2.1\n".repeat(9)).len(), RESOLVERS_MAX);
    }

    #[test]
    fn a_question_has_the_octets_of_the_standard_and_its_answer_is_read() {
        let asked = question(0x0102, "hq.example", TYPE::A).unwrap();
        let octets = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x02hq\x07example\0\0\x01\0\x01";
        assert_eq!(asked, octets);
        let mut answer = asked.clone();
        (answer[2], answer[7]) = (0x81, 1);
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc6\x33\x64\x07");
        assert_eq!(addresses(0x0102, &answer), Some(vec!["198.51.100.7".parse().unwrap()]));
        assert_eq!(addresses(0x0103, &answer), None, "the answer to another question");
        assert_eq!(addresses(0x0102, &asked), None, "a question");
        for length in 0..answer.len() {
            assert!(addresses(0x0102, &answer[..length]).is_none_or(|found| found.is_empty()), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..ANSWER_LEN_MAX)) {
            let _ = addresses(0, &octets);
        }
    }
}
