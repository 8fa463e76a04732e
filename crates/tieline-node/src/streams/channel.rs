//! Label 16 as QUIC sees it: a UDP socket between two made-up addresses.
//!
//! What QUIC sends goes through a bounded ring to the sending thread, which seals it; what the receiving thread opens comes
//! back through another. A full ring is QUIC's back-pressure on the way out; on the way in it is a drop that the caller
//! counts, as a full socket buffer would be.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use noq::{
    AsyncUdpSocket, UdpSender,
    udp::{RecvMeta, Transmit},
};
use tieline_io::{udp, wait::Waker};

use crate::packet_ring::{NoRoom, PacketRing, Popped};

/// Packets that wait to be sealed; at full rate some milliseconds.
pub const OUTGOING_PACKETS_MAX: usize = 256;
/// Packets of QUIC that may always wait.
const OUTGOING_PACKETS_MIN: usize = 2;
/// Packets that QUIC makes and hands over at once: what a line of 100 Mbit/s carries in a millisecond, as long as its timers are.
const SENT_TOGETHER_MAX: usize = 10;
/// Packets that wait for QUIC: as many as the receiving thread may find in one batch, since QUIC may not have its turn before the
/// batch is delivered.
pub const INCOMING_PACKETS_MAX: usize = udp::BATCH * udp::DATAGRAMS_JOINED_MAX;

/// The two rings and those who wait for them.
#[derive(Debug)]
pub struct StreamChannel {
    incoming: PacketRing,
    reader: AtomicWaker,
    outgoing: PacketRing,
    /// Packets that may wait to be sealed.
    outgoing_max: AtomicUsize,
    /// Set by a sender that found no room; cleared by the sending thread when it has made some.
    senders_wait: AtomicBool,
    senders: ArcSwap<Vec<Weak<AtomicWaker>>>,
    sending_thread: Arc<Waker>,
}

impl StreamChannel {
    /// Makes the channel of a line whose packets have up to `packet_len` octets; `sending_thread` is woken when there is
    /// something to send.
    #[must_use]
    pub fn new(packet_len: usize, sending_thread: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self {
            incoming: PacketRing::new(INCOMING_PACKETS_MAX, packet_len),
            reader: AtomicWaker::new(),
            outgoing: PacketRing::new(OUTGOING_PACKETS_MAX, packet_len),
            outgoing_max: AtomicUsize::new(OUTGOING_PACKETS_MAX),
            senders_wait: AtomicBool::new(false),
            senders: ArcSwap::from_pointee(Vec::new()),
            sending_thread,
        })
    }

    /// For the receiving thread: a packet of label 16 has come in. QUIC looks when it is [woken](Self::wake_reader).
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if QUIC does not keep up; the packet is lost.
    pub fn deliver(&self, packet: &[u8]) -> Result<(), NoRoom> {
        self.incoming.push(packet)
    }

    /// For the receiving thread, after it has delivered what it had: has QUIC look.
    pub fn wake_reader(&self) {
        self.reader.wake();
    }

    /// For the sending thread: the next packet to seal under label 16.
    pub fn poll_packet(&self) -> Option<Popped<'_>> {
        self.outgoing.pop()
    }

    /// For the sending thread, after it has taken what it wanted: tells senders that found no room that there is some.
    pub fn wake_senders(&self) {
        if self.senders_wait.swap(false, Ordering::SeqCst) {
            for sender in self.senders.load().iter().filter_map(Weak::upgrade) {
                sender.wake();
            }
        }
    }

    /// For the sending thread: how many packets may wait for it. The slower the line, the fewer: what waits here has left QUIC, which takes
    /// the time for that of the line.
    pub fn set_outgoing_max(&self, packets: usize) {
        let packets = packets.clamp(OUTGOING_PACKETS_MIN, OUTGOING_PACKETS_MAX);
        self.outgoing_max.store(packets, Ordering::Relaxed);
    }

    fn has_room_for(&self, packets: usize) -> bool {
        let most = self.outgoing_max.load(Ordering::Relaxed);
        self.outgoing.has_room_for(packets) && self.outgoing.len() + packets <= most
    }

    /// Whether nothing waits to be sealed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }
}

/// The address that each end has in the eyes of QUIC; nothing outside the channel ever sees it.
#[must_use]
pub fn local_address() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, 1))
}

/// The address that the far end has in the eyes of QUIC.
#[must_use]
pub fn far_address() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, 2))
}

/// The channel as QUIC's socket.
pub struct ChannelSocket(pub Arc<StreamChannel>);

impl fmt::Debug for ChannelSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelSocket")
    }
}

impl AsyncUdpSocket for ChannelSocket {
    fn create_sender(&self) -> Pin<Box<dyn UdpSender>> {
        let room = Arc::new(AtomicWaker::new());
        self.0.senders.rcu(|senders| {
            let mut senders: Vec<_> =
                senders.iter().filter(|sender| sender.strong_count() > 0).cloned().collect();
            senders.push(Arc::downgrade(&room));
            senders
        });
        Box::pin(ChannelSender { channel: Arc::clone(&self.0), room })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = self.take(bufs, meta);
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        self.0.reader.register(cx.waker());
        // Something may have come between the look and the registration.
        match self.take(bufs, meta) {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(local_address())
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl ChannelSocket {
    fn take(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(packet) = self.0.incoming.pop() else { break };
            let len = packet.len().min(buf.len());
            buf[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (far_address(), len, len.max(1));
            count += 1;
        }
        count
    }
}

struct ChannelSender {
    channel: Arc<StreamChannel>,
    room: Arc<AtomicWaker>,
}

impl fmt::Debug for ChannelSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelSender")
    }
}

impl ChannelSender {
    /// Ready when the outgoing ring has room for so many packets.
    fn poll_room(&self, packets: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.channel.has_room_for(packets) {
            return Poll::Ready(());
        }
        self.room.register(cx.waker());
        self.channel.senders_wait.store(true, Ordering::SeqCst);
        // Room may have been made between the look and the registration.
        if self.channel.has_room_for(packets) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl UdpSender for ChannelSender {
    fn poll_send(
        self: Pin<&mut Self>,
        transmit: &Transmit<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        // What was made before there was less room may be more than there ever is now.
        let packets = transmit.contents.len().div_ceil(segment);
        let most = self.channel.outgoing_max.load(Ordering::Relaxed);
        ready!(self.poll_room(packets.min(most), cx));
        for packet in transmit.contents.chunks(segment) {
            // Another sender may have taken the last room; QUIC repeats what is lost here.
            if self.channel.outgoing.push(packet) == Err(NoRoom) {
                break;
            }
        }
        self.channel.sending_thread.wake();
        Poll::Ready(Ok(()))
    }

    fn max_transmit_segments(&self) -> NonZeroUsize {
        let most = self.channel.outgoing_max.load(Ordering::Relaxed).min(SENT_TOGETHER_MAX);
        NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker as TaskWaker;

    use super::*;

    fn channel() -> Arc<StreamChannel> {
        StreamChannel::new(1500, Arc::new(Waker::new().unwrap()))
    }

    fn transmit(contents: &[u8]) -> Transmit<'_> {
        Transmit { destination: far_address(), ecn: None, contents, segment_size: None, src_ip: None }
    }

    #[test]
    fn what_is_sent_comes_out_at_the_sending_thread() {
        let channel = channel();
        let mut sender = ChannelSocket(Arc::clone(&channel)).create_sender();
        let mut cx = Context::from_waker(TaskWaker::noop());
        assert!(sender.as_mut().poll_send(&transmit(b"hello"), &mut cx).is_ready());
        assert_eq!(&*channel.poll_packet().unwrap(), b"hello");
        assert!(channel.is_idle());
    }

    #[test]
    fn full_ring_holds_the_sender_until_there_is_room() {
        let channel = channel();
        let mut sender = ChannelSocket(Arc::clone(&channel)).create_sender();
        let mut cx = Context::from_waker(TaskWaker::noop());
        for _ in 0..OUTGOING_PACKETS_MAX {
            assert!(sender.as_mut().poll_send(&transmit(b"x"), &mut cx).is_ready());
        }
        assert!(sender.as_mut().poll_send(&transmit(b"x"), &mut cx).is_pending());
        drop(channel.poll_packet());
        channel.wake_senders();
        assert!(!channel.senders_wait.load(Ordering::Relaxed));
        assert!(sender.as_mut().poll_send(&transmit(b"x"), &mut cx).is_ready());
    }

    #[test]
    fn packets_that_are_sent_together_wait_for_room_for_all_of_them() {
        let channel = channel();
        let mut sender = ChannelSocket(Arc::clone(&channel)).create_sender();
        let mut cx = Context::from_waker(TaskWaker::noop());
        for _ in 0..OUTGOING_PACKETS_MAX - 2 {
            assert!(sender.as_mut().poll_send(&transmit(b"x"), &mut cx).is_ready());
        }
        let three = Transmit { segment_size: Some(2), ..transmit(b"aabbc") };
        assert!(sender.as_mut().poll_send(&three, &mut cx).is_pending());
        drop(channel.poll_packet());
        assert!(sender.as_mut().poll_send(&three, &mut cx).is_ready());
        let sent: Vec<Vec<u8>> =
            std::iter::from_fn(|| channel.poll_packet().map(|packet| packet.to_vec())).collect();
        assert_eq!(sent[sent.len() - 3..], [b"aa".to_vec(), b"bb".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn whole_batch_of_the_receiving_thread_finds_room_before_quic_has_its_turn() {
        const DATAGRAMS: usize = 32 * 64;
        let channel = channel();
        for number in 0..DATAGRAMS {
            channel.deliver(&number.to_be_bytes()).unwrap();
        }
        assert_eq!(channel.deliver(b"one more"), Err(NoRoom), "it is bounded");
        for number in 0..DATAGRAMS {
            assert_eq!(*channel.incoming.pop().unwrap(), number.to_be_bytes());
        }
    }

    #[test]
    fn delivered_packets_are_received_one_datagram_each() {
        let channel = channel();
        let mut socket = ChannelSocket(Arc::clone(&channel));
        channel.deliver(b"one").unwrap();
        channel.deliver(b"three").unwrap();
        let (mut first, mut second) = ([0; 8], [0; 8]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut meta = [RecvMeta::default(); 2];
        let mut cx = Context::from_waker(TaskWaker::noop());
        let Poll::Ready(Ok(count)) = socket.poll_recv(&mut cx, &mut bufs, &mut meta) else {
            panic!("pending")
        };
        assert_eq!((count, meta[0].len, meta[1].len), (2, 3, 5));
        assert_eq!(&second[..5], b"three");
    }
}
