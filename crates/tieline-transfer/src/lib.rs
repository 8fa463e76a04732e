//! Files and trees over one reliable stream into a confined inbox.
//!
//! The crate sees a stream and two file systems, never a socket. One end makes a [`Plan`] of what it was asked to send and calls
//! [`send`]; the other holds an [`Inbox`] and calls [`receive`]. What travels between them is in [`protocol`].
//!
//! What holds whatever the other end, the disk or the power does:
//!
//! - A file appears under its final name once, whole and with the content that was read (BLAKE3), or not at all. Nothing
//!   is overwritten: another file of the name is kept beside it under a number, unless the inbox is to keep the newest or to refuse.
//! - "Delivered" is said of what survives a power cut, and of nothing else; the receiving end signs for it, and both ends keep that.
//! - A large file that is cut goes on where it was, after a restart of either end too; what was synced is not sent again, nor hashed again.
//! - A file that changed while it was read is not delivered, and whatever is not delivered is reported by name with its reason.
//! - The sender's words reach no path outside the inbox, nor the receiver's own files in it. The receiver's words cannot make the
//!   sender believe in something that it did not send.
//! - Memory, threads, open files and waits are bounded by the constants named here, on both ends.
//!
//! | module | idea |
//! |---|---|
//! | [`path`] | names that may be created, their copies, and how they are shown |
//! | [`protocol`], `frame`, [`bundle`], [`reason`] | octets |
//! | [`content`], [`stamp`] | the hash of a file that comes in parts, and which version of it that is |
//! | [`metadata`], [`holes`] | what files keep besides their content, and which parts of that are none |
//! | [`journal`] | what is remembered across cuts and restarts |
//! | [`outbox`], [`schedule`], [`spool`] | which files are due, how much of the line they may take by the time of day, putting files into an outbox |
//! | [`plan`], `source`, `links`, `reading`, `blocks`, `comparing`, `ledger`, `checking`, `summing`, [`sender`] | the sending end, from the first pass to the last verdict |
//! | [`disk`], [`folder`], `beneath` | what the receiving end asks of a disk, and the real one |
//! | [`inbox`], `assembly`, `basis`, `keeping`, `publish`, `same_name`, `twins`, `signing`, [`receiver`] | the receiving end, from the frame to the durable name |
//! | [`delta`], [`compress`] | what need not be sent |
//! | [`receipt`], [`audit`], [`proof`], [`export`], [`moment`], `fields` | what happened and who signed for it, kept for ever and shown to others |
//! | [`mirror`] | a folder at the far end kept as one at this end is |
//! | [`outcome`] | what became of it all |

mod assembly;
pub mod audit;
mod basis;
mod beneath;
mod blocks;
pub mod bundle;
mod checking;
mod comparing;
pub mod compress;
pub mod content;
pub mod delta;
pub mod disk;
pub mod export;
mod fields;
pub mod folder;
mod frame;
pub mod holes;
pub mod inbox;
pub mod journal;
mod keeping;
mod ledger;
mod links;
pub mod metadata;
pub mod mirror;
pub mod moment;
pub mod outbox;
pub mod outcome;
pub mod path;
pub mod plan;
pub mod proof;
pub mod protocol;
mod publish;
mod reading;
pub mod reason;
pub mod receipt;
pub mod receiver;
mod same_name;
pub mod schedule;
pub mod sender;
mod signing;
mod source;
pub mod spool;
pub mod stamp;
mod summing;
mod twins;

pub use inbox::{Inbox, InboxError};
pub use journal::{Journal, JournalError};
pub use outcome::{EntryKind, EntryReport, Fate, Fault, Progress, Skip, Totals, Turn, Work};
pub use path::{Escaped, NameFault, RelativePath};
pub use plan::{Plan, PlanError};
pub use reason::{Obstacle, StopReason};
pub use receiver::{ReceiveError, Received, receive};
pub use same_name::SameName;
pub use sender::{Order, Outcome, SendError, send};
pub use source::SourceFault;
pub use stamp::Stamp;
