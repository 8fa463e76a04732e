//! Datagrams that leave together: of one size, by one path to one address, with one mark, one behind the other in one buffer, so that the kernel cuts them
//! apart (`UDP_SEGMENT`) and one system call sends them all.

use tieline_line::{HEADROOM, TAILROOM, paths::Path};
use tieline_wire::label::LabelStackEntry;

/// Datagrams that the kernel cuts apart in one go (`UDP_MAX_SEGMENTS` of kernels before 6.9).
const DATAGRAMS_MAX: usize = 64;
/// Octets that it takes in one go: the largest payload of UDP over IPv4.
const OCTETS_MAX: usize = 65_507;
/// What stands before the first datagram: an IP packet leaves the place of its label unused, and a datagram behind another finds
/// that place taken by the end of the one before.
const FRONT: usize = LabelStackEntry::LEN;

/// Sealed datagrams on their way to the medium.
#[derive(Debug)]
pub(super) struct Run {
    buffer: Box<[u8]>,
    /// Octets of all datagrams.
    len: usize,
    /// Octets of each, but for the last, which may have fewer.
    segment: usize,
    count: usize,
    /// Octets of the last one.
    last: usize,
    way: Option<Way>,
}

/// By which path a datagram goes, and with which DS octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) by: Path,
    pub(super) ds: u8,
}

impl Run {
    /// An empty run for packets of up to `mtu` octets.
    pub(super) fn new(mtu: usize) -> Self {
        let buffer = vec![0; FRONT + OCTETS_MAX + HEADROOM + mtu + TAILROOM].into_boxed_slice();
        Self { buffer, len: 0, segment: 0, count: 0, last: 0, way: None }
    }

    /// Where the next IP packet is to be sealed: as the line wants it, with [`HEADROOM`].
    pub(super) fn place_for_ip(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// Where the next labelled packet is to be sealed.
    pub(super) fn place_for_labelled(&mut self) -> &mut [u8] {
        &mut self.buffer[FRONT + self.len..]
    }

    /// Whether a datagram of `len` octets, which was sealed in place and goes this way, may leave with the others.
    pub(super) fn takes(&self, way: Way, len: usize) -> bool {
        let is_open = self.len == self.segment * self.count;
        self.count == 0
            || (is_open
                && self.way == Some(way)
                && len <= self.segment
                && self.count < DATAGRAMS_MAX
                && self.len + len <= OCTETS_MAX)
    }

    /// Adds the datagram that was sealed in place.
    pub(super) fn add(&mut self, way: Way, len: usize) {
        if self.count == 0 {
            (self.segment, self.way) = (len, Some(way));
        }
        self.len += len;
        self.last = len;
        self.count += 1;
    }

    /// Begins anew with the datagram of `len` octets that was sealed in place but not added.
    pub(super) fn begin_with(&mut self, way: Way, len: usize) {
        let sealed = FRONT + self.len..FRONT + self.len + len;
        self.buffer.copy_within(sealed, FRONT);
        self.clear();
        self.add(way, len);
    }

    /// The datagram that was added last.
    pub(super) fn last(&self) -> &[u8] {
        &self.buffer[FRONT + self.len - self.last..FRONT + self.len]
    }

    /// The datagrams, the size of each, how many, and which way they go; `None` if there is none.
    pub(super) fn datagrams(&self) -> Option<(&[u8], usize, usize, Way)> {
        let way = self.way.filter(|_| self.count > 0)?;
        Some((&self.buffer[FRONT..FRONT + self.len], self.segment, self.count, way))
    }

    /// Forgets what was sent.
    pub(super) fn clear(&mut self) {
        (self.len, self.segment, self.count, self.last) = (0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const HERE: Way = way(1, 0);
    const THERE: Way = way(2, 0);

    const fn way(port: u16, ds: u8) -> Way {
        let remote = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port);
        Way { by: Path { socket: 0, remote }, ds }
    }

    fn seal(run: &mut Run, octet: u8, len: usize) {
        run.place_for_labelled()[..len].fill(octet);
    }

    #[test]
    fn datagrams_of_one_size_leave_together_and_a_shorter_one_is_the_last() {
        let mut run = Run::new(1420);
        assert!(run.datagrams().is_none());
        for (octet, len) in [(1, 100), (2, 100), (3, 60)] {
            seal(&mut run, octet, len);
            assert!(run.takes(HERE, len));
            run.add(HERE, len);
        }
        for (to, len) in [(HERE, 60), (HERE, 100), (HERE, 10)] {
            assert!(!run.takes(to, len), "nothing behind a shorter one");
        }
        let (octets, segment, count, to) = run.datagrams().unwrap();
        assert_eq!((segment, count, to), (100, 3, HERE));
        assert_eq!(octets, [vec![1; 100], vec![2; 100], vec![3; 60]].concat());
    }

    #[test]
    fn what_does_not_go_with_the_others_begins_a_run_of_its_own() {
        let mut run = Run::new(1420);
        seal(&mut run, 1, 100);
        run.add(HERE, 100);
        assert!(!run.takes(HERE, 101), "longer");
        assert!(!run.takes(THERE, 100), "elsewhere");
        assert!(!run.takes(way(1, 0xb8), 100), "marked otherwise");
        seal(&mut run, 2, 101);
        run.begin_with(THERE, 101);
        assert_eq!(run.datagrams(), Some((&[2; 101][..], 101, 1, THERE)));
        run.clear();
        assert!(run.datagrams().is_none() && run.takes(HERE, 9));
    }

    #[test]
    fn no_run_is_longer_than_the_kernel_takes() {
        let mut run = Run::new(1420);
        let mut count = 0;
        while run.takes(HERE, 1452) {
            run.add(HERE, 1452);
            count += 1;
        }
        assert_eq!(count, 45);
        run.clear();
        while run.takes(HERE, 32) {
            run.add(HERE, 32);
        }
        assert_eq!(run.datagrams().unwrap().2, 64);
    }
}
