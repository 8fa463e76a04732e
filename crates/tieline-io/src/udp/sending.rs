//! One `sendmsg`: a run of datagrams for the kernel to cut apart (`UDP_SEGMENT`), and the DS octet that they carry (`IP_TOS`,
//! `IPV6_TCLASS`), which may be another with each call.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use socket2::SockAddr;

/// Room for two control messages, aligned as their headers must be.
type ControlRoom = [MaybeUninit<usize>; 8];

/// What goes with a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ancillary {
    /// Octets of each datagram of a run; none: there is only one.
    pub(super) segment: Option<u16>,
    /// The DS octet (RFC 2474, RFC 3168).
    pub(super) ds: u8,
}

/// Sends `contents` to `to` by `socket`, whole or not at all.
///
/// # Errors
///
/// What the kernel said.
pub(super) fn send_message(
    socket: BorrowedFd<'_>,
    contents: &[u8],
    to: SocketAddr,
    ancillary: Ancillary,
) -> io::Result<()> {
    let address = SockAddr::from(to);
    let mut part = libc::iovec { iov_base: contents.as_ptr().cast_mut().cast(), iov_len: contents.len() };
    let mut room: ControlRoom = [const { MaybeUninit::zeroed() }; 8];
    // SAFETY: a header of zeros and null pointers is a valid one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_ptr().cast_mut().cast();
    header.msg_namelen = address.len();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    write_ancillary(&mut header, &mut room, to, ancillary);
    loop {
        // SAFETY: all that the header points to lives until the call returns, and the kernel only reads it.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Has `header` carry `ancillary`, which is written to `room`.
fn write_ancillary(header: &mut libc::msghdr, room: &mut ControlRoom, to: SocketAddr, ancillary: Ancillary) {
    let is_v4 = to.ip().to_canonical().is_ipv4();
    let (level, kind) = match is_v4 {
        true => (libc::IPPROTO_IP, libc::IP_TOS),
        false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = size_of::<ControlRoom>();
    let mut len = 0;
    // SAFETY: the room is large enough for both messages with their headers and is zeroed, so that the macros find no lengths there
    // that lead out of it.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        if ancillary.ds != 0 {
            len += write_one(next, level, kind, libc::c_int::from(ancillary.ds));
            next = libc::CMSG_NXTHDR(header, next);
        }
        if let Some(segment) = ancillary.segment {
            len += write_one(next, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
    }
    header.msg_controllen = len;
    if len == 0 {
        header.msg_control = ptr::null_mut();
    }
}

/// Writes one control message and returns what it takes of the room.
///
/// # Safety
///
/// `at` must point to room for it.
unsafe fn write_one<T: Copy>(
    at: *mut libc::cmsghdr,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    const { assert!(size_of::<T>() <= size_of::<libc::c_int>()) };
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: the caller has room there for the header and the value.
    unsafe {
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(len) as _;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        libc::CMSG_SPACE(len) as usize
    }
}
