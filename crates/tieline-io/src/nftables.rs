//! Tables of the kernel's packet filter (nf_tables), by netlink; never by running `nft`.
//!
//! As much of it as a line needs: a table that is put in place whole, in one transaction, in place of the one of the same name
//! that was there; its removal; and what its rules have counted. Other tables are never named, so never touched. All is of the family
//! `inet`, which sees both versions of IP.
//!
//! An [`Nftables`] speaks for the network namespace of the thread that made it. Unlike a device a table outlives the process that made
//! it: what must hold while the process is gone belongs here, and somebody must remember to remove it.
//!
//! Ours, because the libraries for it are in C, or run the program `nft`, or have a licence that this program cannot take.

mod attributes;
mod rule;

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use self::attributes::{Attributes, Message, children};
pub use self::rule::{Protocol, Rule};

/// The netlink protocol of netfilter (`NETLINK_NETFILTER`), and the family of our tables (`NFPROTO_INET`).
const NETLINK_NETFILTER: i32 = libc::NETLINK_NETFILTER;
const FAMILY: u8 = 1;
/// How long the kernel may take for a transaction; it waits for packets under way.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// One read of netlink: the kernel makes its messages no longer than this.
const READ_BYTES: usize = 64 * 1024;
/// Octets of a transaction: a table with a rule for each of some hundred networks has a tenth of it.
const TRANSACTION_BYTES_MAX: usize = 1 << 20;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
const GET_RULE: u16 = (SUBSYSTEM << 8) | 7;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// A table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name among the tables of the family `inet`.
    pub name: String,
    /// What is in it.
    pub chains: Vec<Chain>,
}

/// Rules that packets pass at one place; what none of them decides goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: &'static str,
    /// Where packets pass it.
    pub hook: Hook,
    /// In which order, of all chains at that place; the least first.
    pub priority: i32,
    /// Whether it is asked once for each connection, and may change its addresses.
    pub translates: bool,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// A place on a packet's way through the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// It has come in.
    Prerouting = 0,
    /// It is passed on from one device to another.
    Forward = 2,
    /// It was made here.
    Output = 3,
    /// It is about to go out.
    Postrouting = 4,
}

/// A connection to the kernel's packet filter.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    sequence: u32,
}

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// We lack `CAP_NET_ADMIN` in this namespace.
    #[error("cannot {what}: it needs CAP_NET_ADMIN")]
    Forbidden {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused for another reason.
    #[error("cannot {what}; this kernel may lack nf_tables, or a part of it that is needed")]
    Kernel {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is more in the table than one transaction takes.
    #[error("cannot {what}: there is too much in it")]
    TooLarge {
        /// What was asked.
        what: String,
    },
}

impl Nftables {
    /// Connects to the kernel, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn connect() -> io::Result<Self> {
        let protocol = socket2::Protocol::from(NETLINK_NETFILTER);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        // A transaction must fit into it whole.
        socket.set_send_buffer_size(TRANSACTION_BYTES_MAX)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Puts `table` in place of the one of its name, if there is one, in one step: no packet sees neither.
    ///
    /// # Errors
    ///
    /// What the kernel said; nothing has changed then.
    pub fn replace(&mut self, table: &Table) -> Result<(), NftablesError> {
        let what = format!("set up the nftables table {}", table.name);
        let mut messages = vec![new_table(&table.name), delete_table(&table.name), new_table(&table.name)];
        for chain in &table.chains {
            messages.push(new_chain(&table.name, chain));
            messages.extend(chain.rules.iter().map(|rule| new_rule(&table.name, chain.name, rule)));
        }
        self.transact(&messages, &what)
    }

    /// Removes the table of this name, if there is one.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn remove(&mut self, name: &str) -> Result<(), NftablesError> {
        // Made first, so that there is one to remove.
        self.transact(&[new_table(name), delete_table(name)], &format!("remove the nftables table {name}"))
    }

    /// Packets that the counting rules of a chain have seen since the table was put in place; none if there is no such chain.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn counted(&mut self, table: &str, chain: &str) -> Result<Option<u64>, NftablesError> {
        let what = format!("read what chain {chain} of the nftables table {table} has counted");
        let error = |source| NftablesError::new(&what, source);
        self.sequence += 1;
        let attributes = Attributes::new().text(1, table).text(2, chain);
        let request = Message { kind: GET_RULE, flags: REQUEST | DUMP, family: FAMILY, attributes };
        self.socket.write_all(&request.emit(self.sequence)).map_err(error)?;
        let mut packets = None;
        loop {
            match self.read(&mut |kind, payload| {
                if kind == NEW_RULE {
                    *packets.get_or_insert(0) += rule::counted(payload);
                }
            }) {
                Ok(Answer::More) => {}
                Ok(Answer::Done) => return Ok(packets),
                Err(source) if source.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                Err(source) => return Err(error(source)),
            }
        }
    }

    /// Has the kernel do all of `messages` or none.
    fn transact(&mut self, messages: &[Message], what: &str) -> Result<(), NftablesError> {
        let error = |source| NftablesError::new(what, source);
        let batch = |kind| Message { kind, flags: REQUEST, family: 0, attributes: Attributes::new() };
        let mut octets = batch(BATCH_BEGIN).emit_for(self.next(), SUBSYSTEM);
        for (index, message) in messages.iter().enumerate() {
            // One answer for all of it; errors are told in any case.
            let flags = if index + 1 == messages.len() { ACKNOWLEDGE } else { 0 };
            octets.extend(message.emit_with(self.next(), flags));
        }
        octets.extend(batch(BATCH_END).emit_for(self.next(), SUBSYSTEM));
        if octets.len() > TRANSACTION_BYTES_MAX {
            return Err(NftablesError::TooLarge { what: what.to_owned() });
        }
        self.socket.write_all(&octets).map_err(error)?;
        while let Answer::More = self.read(&mut |_, _| ()).map_err(error)? {}
        Ok(())
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Reads what the kernel answers next, and hands over each message of it that is neither an error nor an end.
    fn read(&mut self, take: &mut dyn FnMut(u16, &[u8])) -> io::Result<Answer> {
        let mut buffer = vec![0; READ_BYTES];
        let length = self.socket.read(&mut buffer)?;
        let mut rest = &buffer[..length];
        let mut answer = Answer::More;
        while let Some((kind, payload, behind)) = attributes::split_message(rest) {
            match i32::from(kind) {
                libc::NLMSG_ERROR => match attributes::error_of(payload) {
                    0 => answer = Answer::Done,
                    code => {
                        self.drain();
                        return Err(io::Error::from_raw_os_error(code));
                    }
                },
                libc::NLMSG_DONE => answer = Answer::Done,
                _ => take(kind, payload),
            }
            rest = behind;
        }
        Ok(answer)
    }

    /// Takes what else the kernel says of a transaction that failed, so that it is not taken for the answer to the next.
    fn drain(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        // It is there already: the kernel answers within the call that sends.
        if self.socket.set_nonblocking(true).is_ok() {
            while self.socket.read(&mut buffer).is_ok() {}
            let _ = self.socket.set_nonblocking(false);
        }
    }
}

enum Answer {
    More,
    Done,
}

impl NftablesError {
    fn new(what: &str, source: io::Error) -> Self {
        let what = what.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { what, source },
            _ => Self::Kernel { what, source },
        }
    }
}

fn new_table(name: &str) -> Message {
    Message {
        kind: NEW_TABLE,
        flags: REQUEST | CREATE,
        family: FAMILY,
        attributes: Attributes::new().text(1, name),
    }
}

fn delete_table(name: &str) -> Message {
    Message {
        kind: DELETE_TABLE,
        flags: REQUEST,
        family: FAMILY,
        attributes: Attributes::new().text(1, name),
    }
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    const ACCEPT: u32 = 1;
    let hook = Attributes::new().number(1, chain.hook as u32).number(2, chain.priority.cast_unsigned());
    let attributes = Attributes::new()
        .text(1, table)
        .text(3, chain.name)
        .nested(4, &hook)
        .number(5, ACCEPT)
        .text(7, if chain.translates { "nat" } else { "filter" });
    Message { kind: NEW_CHAIN, flags: REQUEST | CREATE, family: FAMILY, attributes }
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> Message {
    let attributes = Attributes::new().text(1, table).text(2, chain).nested(4, rule.expressions());
    Message { kind: NEW_RULE, flags: REQUEST | CREATE | APPEND, family: FAMILY, attributes }
}

/// The value of the attribute `kind` among `octets`.
fn find(octets: &[u8], kind: u16) -> Option<&[u8]> {
    children(octets).find(|(found, _)| *found == kind).map(|(_, value)| value)
}
