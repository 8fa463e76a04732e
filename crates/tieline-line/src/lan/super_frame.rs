//! One frame of a device with segmentation offload becomes the frames of an Ethernet: as [`crate::cut`], each with the headers in front.

use tieline_wire::{
    checksum::Sum,
    ds::{self, Dscp},
    ethernet::EthernetFrame,
    vnet::{PartialChecksum, VnetHeader},
};

use crate::{
    class::ServiceClass,
    counters::DropReason,
    cut::{self, SuperPacket},
};

/// A frame as it came from the device.
#[derive(Clone, Copy, Debug)]
pub struct SuperFrame<'f> {
    link: &'f [u8],
    content: Content<'f>,
    priority: Dscp,
}

#[derive(Clone, Copy, Debug)]
enum Content<'f> {
    /// To be cut, or to be completed.
    Ip(SuperPacket<'f>),
    /// One frame that may lack the checksum at this place, over all from there on.
    Plain(&'f [u8], Option<PartialChecksum>),
}

impl<'f> SuperFrame<'f> {
    /// Takes a frame with the header that stood before it.
    ///
    /// # Errors
    ///
    /// `OffloadMismatch` if the header does not fit the frame.
    pub fn parse(header: &VnetHeader, frame: &EthernetFrame<'f>) -> Result<Self, DropReason> {
        let header = header.without(frame.link.len()).ok_or(DropReason::OffloadMismatch)?;
        let content = match SuperPacket::parse(&header, frame.content) {
            Ok(packet) if frame.is_ip() => Content::Ip(packet),
            // Padded, or of another protocol: as it is.
            _ if header.segments.is_none() => Content::Plain(frame.content, header.checksum),
            _ => return Err(DropReason::OffloadMismatch),
        };
        if let Content::Plain(content, Some(PartialChecksum { start, offset })) = content
            && usize::from(start) + usize::from(offset) + 2 > content.len()
        {
            return Err(DropReason::OffloadMismatch);
        }
        Ok(Self { link: frame.link, content, priority: marked(frame.priority()) })
    }

    /// How many frames it is; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.content {
            Content::Ip(packet) => packet.count(),
            Content::Plain(..) => 1,
        }
    }

    /// Octets of the longest of them.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.link.len()
            + match &self.content {
                Content::Ip(packet) => packet.len_max(),
                Content::Plain(content, _) => content.len(),
            }
    }

    /// Octets before the content of each.
    #[must_use]
    pub fn link_len(&self) -> usize {
        self.link.len()
    }

    /// How its tag wants it to be served.
    #[must_use]
    pub fn priority(&self) -> Dscp {
        self.priority
    }

    /// How they want to be served: as the packet is marked, or else the tag.
    #[must_use]
    pub fn class(&self) -> ServiceClass {
        let packet = match &self.content {
            Content::Ip(packet) => packet.front(),
            Content::Plain(content, _) => content,
        };
        match ds::of(packet).0 {
            Dscp::DF => ServiceClass::of_dscp(self.priority),
            marked => ServiceClass::of_dscp(marked),
        }
    }

    /// The packet in it, if it is one of IP and not several in one piece.
    #[must_use]
    pub fn only_packet(&self) -> Option<&'f [u8]> {
        match &self.content {
            Content::Ip(packet) if packet.count() == 1 => Some(packet.front()),
            _ => None,
        }
    }

    /// Writes one of them at the front of `out` and returns its length.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Self::count`], or `out` is shorter than [`Self::len_max`].
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        let (link, rest) = out.split_at_mut(self.link.len());
        link.copy_from_slice(self.link);
        self.link.len()
            + match &self.content {
                Content::Ip(packet) => packet.write(index, rest),
                Content::Plain(content, checksum) => {
                    let rest = &mut rest[..content.len()];
                    rest.copy_from_slice(content);
                    if let Some(PartialChecksum { start, offset }) = checksum {
                        let start = usize::from(*start);
                        cut::complete(rest, start, start + usize::from(*offset), Sum::default());
                    }
                    content.len()
                }
            }
    }
}

/// The code point that stands for a priority of IEEE 802.1Q (its table I-2, RFC 8325): background is the least, and best effort none.
fn marked(priority: Option<u8>) -> Dscp {
    match priority {
        Some(1) => Dscp::CS1,
        Some(2) => Dscp::af(2, 1),
        Some(3) => Dscp::CS3,
        Some(4) => Dscp::CS4,
        Some(5) => Dscp::EF,
        Some(6) => Dscp::CS6,
        Some(7) => Dscp::CS7,
        _ => Dscp::DF,
    }
}
