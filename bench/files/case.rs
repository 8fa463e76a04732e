//! What is measured: which files, over which path, and what is aimed at.

use crate::contender::Contender;
use crate::content::{self, Content};
use crate::options::Options;

/// One row of the table of goals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// A large file of random octets; nothing is lost.
    Clean,
    /// The same, where so many hundredths are lost.
    Loss1,
    Loss5,
    Loss10,
    /// Many small files.
    Small,
    /// The same when they are there already, but for a fiftieth that was changed.
    Changed,
    /// A large file that is there already, with many small edits.
    Edits,
    /// The same with a MiB inserted at the front.
    Insert,
    /// A thousand octets, until the sender knows that they are there.
    Tiny,
    /// A very large file, nearly all of it holes.
    Sparse,
    /// A million files of a few octets.
    Million,
}

impl Case {
    pub(crate) const ALL: [Self; 11] = [
        Self::Clean,
        Self::Loss1,
        Self::Loss5,
        Self::Loss10,
        Self::Small,
        Self::Changed,
        Self::Edits,
        Self::Insert,
        Self::Tiny,
        Self::Sparse,
        Self::Million,
    ];

    /// Those that do not take long.
    pub(crate) const USUAL: [Self; 9] = [
        Self::Clean,
        Self::Loss1,
        Self::Loss5,
        Self::Loss10,
        Self::Small,
        Self::Changed,
        Self::Edits,
        Self::Insert,
        Self::Tiny,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Loss1 => "loss1",
            Self::Loss5 => "loss5",
            Self::Loss10 => "loss10",
            Self::Small => "small",
            Self::Changed => "changed",
            Self::Edits => "edits",
            Self::Insert => "insert",
            Self::Tiny => "tiny",
            Self::Sparse => "sparse",
            Self::Million => "million",
        }
    }

    /// For the head of its table.
    pub(crate) fn title(self, options: &Options) -> String {
        let (mib, files) = (options.mib, options.files);
        let large = |what: &str| format!("one file of {mib} random MiB, {what}");
        match self {
            Self::Clean => large("nothing lost"),
            Self::Loss1 => large("1 % lost"),
            Self::Loss5 => large("5 % lost, policy `fixed`"),
            Self::Loss10 => large("10 % lost, policy `fixed`"),
            Self::Small => format!("{files} small files, half text and half random"),
            Self::Changed => format!("the same {files} files, a fiftieth of them changed"),
            Self::Edits => large(&format!("{} edits of 4 KiB since it was sent", content::edits(mib << 20))),
            Self::Insert => large("1 MiB inserted at the front since it was sent"),
            Self::Tiny => "1,000 octets into an outbox, until receipted".into(),
            Self::Sparse => format!("one file of {} GiB, all holes but for 64 MiB", options.gib),
            Self::Million => format!("{} files of 10 octets", options.many),
        }
    }

    pub(crate) fn loss(self) -> f64 {
        match self {
            Self::Loss1 => 0.01,
            Self::Loss5 => 0.05,
            Self::Loss10 => 0.1,
            _ => 0.0,
        }
    }

    /// Whether the line is taken for the company's own.
    pub(crate) fn is_fixed(self) -> bool {
        matches!(self, Self::Loss5 | Self::Loss10)
    }

    /// Whether the far end has an old version, and only what is new is to be sent.
    pub(crate) fn is_delta(self) -> bool {
        matches!(self, Self::Changed | Self::Edits | Self::Insert)
    }

    /// Whether it makes sense for this one: those that know no old version are left out where there is one, and of the others' memory
    /// nothing is said.
    pub(crate) fn is_for(self, contender: Contender) -> bool {
        match self {
            Self::Changed | Self::Edits | Self::Insert => contender.knows_old_versions(),
            Self::Sparse | Self::Million => contender == Contender::Tieline,
            _ => true,
        }
    }

    /// Makes what is sent.
    pub(crate) fn content(self, options: &Options) -> Result<Content, String> {
        let (large, seed) = (options.mib << 20, options.seed);
        let made = match self {
            Self::Clean | Self::Loss1 | Self::Loss5 | Self::Loss10 => Content::large(large, seed),
            Self::Small => Content::tree(options.files, seed),
            Self::Changed => Content::tree(options.files, seed).and_then(|tree| tree.with_changes(seed)),
            Self::Edits => Content::large(large, seed).and_then(|file| file.with_edits(seed)),
            Self::Insert => Content::large(large, seed).and_then(|file| file.with_insertion(seed)),
            Self::Tiny => Content::large(1000, seed),
            Self::Sparse => Content::sparse(options.gib << 30, seed),
            Self::Million => Content::many(options.many, seed),
        };
        made.map_err(|error| format!("cannot make what is to be sent: {error}"))
    }
}
