//! What a call sends.

use std::time::Duration;

use tieline_line::emodel::Impairment;

/// How sound becomes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// 64 kbit/s of plain samples (A-law).
    G711,
    /// 24 kbit/s.
    Opus,
    /// 8 kbit/s.
    G729,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::G711, Self::Opus, Self::G729];

    /// Of all of them: sound in each packet.
    pub const INTERVAL: Duration = Duration::from_millis(20);

    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::G711 => "G.711",
            Self::Opus => "Opus",
            Self::G729 => "G.729",
        }
    }

    /// Octets of sound in each packet.
    #[must_use]
    pub fn payload_len(self) -> usize {
        match self {
            Self::G711 => 160,
            Self::Opus => 60,
            Self::G729 => 20,
        }
    }

    /// In the header of RTP: PCMA and G729 of RFC 3551; that of Opus is agreed upon by each call.
    pub(super) fn payload_type(self) -> u8 {
        match self {
            Self::G711 => 8,
            Self::Opus => 111,
            Self::G729 => 18,
        }
    }

    /// Ticks of the clock of RTP in each packet: 8,000 a second, of Opus 48,000 (RFC 7587).
    pub(super) fn ticks(self) -> u32 {
        match self {
            Self::G711 | Self::G729 => 160,
            Self::Opus => 960,
        }
    }

    /// Its part of the E-model.
    pub(super) fn impairment(self) -> Impairment {
        match self {
            Self::G711 => Impairment::G711,
            Self::Opus => Impairment::OPUS,
            Self::G729 => Impairment::G729,
        }
    }
}
