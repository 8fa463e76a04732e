//! One attempt to send what is due, and what goes wrong with it.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tieline_transfer::{Inbox, Order, receive, send};
use tokio::io::duplex;

use crate::Life;
use crate::cable::{Cable, Meter};
use crate::model::Act;
use crate::receiver::expect_power_cut;
use crate::sender::Transfer;
use crate::sim::{Random, Trouble};
use crate::support::{BUFFER, Watcher};

/// In which folder of the inbox the files arrive.
pub(crate) const PAIR: &str = "pair";
/// A transfer takes much less.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What goes wrong with a transfer, after so many octets or calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mishap {
    Nothing,
    /// The line is cut after so much went forth, or came back.
    CutForth(u64),
    CutBack(u64),
    KillSender(u64),
    KillReceiver(u64),
    /// At that call of the disk; a power cut may be a kill as well.
    Disk(u64, Trouble),
}

impl Mishap {
    pub(crate) fn any(random: &mut Random) -> Self {
        // Somewhere in small files, or in large ones.
        let range = [3_000, 50_000, 3_000_000][usize::try_from(random.below(3)).unwrap()];
        let (octets, call) = (random.below(range), 1 + random.below(60));
        let trouble = [Trouble::Io, Trouble::Loss, Trouble::Full][usize::try_from(random.below(3)).unwrap()];
        match random.below(10) {
            0 => Self::CutForth(octets),
            1 | 2 => Self::CutBack(random.below(1500)),
            3 => Self::KillSender(octets),
            4 => Self::KillReceiver(octets),
            5 | 6 => Self::Disk(call, Trouble::PowerCut),
            7 => Self::Disk(call, trouble),
            _ => Self::Nothing,
        }
    }
}

impl Life {
    /// Sends what is due.
    pub(crate) fn attempt(&mut self, mishap: Mishap, meanwhile: Option<Act>) {
        let (order, transfer) = self.sender.begin();
        self.tell(&(mishap, &transfer.paths, &meanwhile));
        if let Mishap::Disk(at, trouble) = mishap {
            self.receiver.disk.plan(at, trouble);
        }
        // Also one that was planned for the transfer before, and did not come to it.
        if self.receiver.disk.is_waiting() {
            self.unsaid.extend(transfer.paths.iter().map(ToString::to_string));
        }
        if let Some(inbox) = self.receiver.inbox() {
            self.carry(order, inbox, &transfer, mishap, meanwhile);
        }
        self.sender.end(&transfer);
        drop(transfer);
        match mishap {
            Mishap::KillSender(_) => self.restart_sender(),
            Mishap::KillReceiver(_) => self.receiver.restart(false),
            Mishap::Disk(_, Trouble::PowerCut) => {
                let power_cut = self.random.below(4) > 0;
                self.receiver.restart(power_cut);
            }
            _ => {}
        }
    }

    /// Carries one transfer, and takes down what both ends made of it.
    fn carry(
        &mut self,
        order: Order,
        inbox: Arc<Inbox>,
        transfer: &Arc<Transfer>,
        mishap: Mishap,
        meanwhile: Option<Act>,
    ) {
        let watcher = Arc::new(Watcher::default());
        let mark = match mishap {
            Mishap::KillSender(mark) | Mishap::KillReceiver(mark) => mark,
            _ => self.random.below(3_000),
        };
        let (stream, far) = duplex(BUFFER);
        let (forth, back) = match mishap {
            Mishap::CutForth(forth) => (forth, u64::MAX),
            Mishap::CutBack(back) => (u64::MAX, back),
            _ => (u64::MAX, u64::MAX),
        };
        let meter = Meter::with_mark(mark);
        let near = Cable { stream, meter: Arc::clone(&meter), forth, back };
        let (progress, watching) = (Arc::clone(transfer), Arc::clone(&watcher));
        let (sent, received) = self.runtime.block_on(async {
            let sending = tokio::spawn(send(near, order, progress));
            let receiving =
                tokio::spawn(async move { receive(far, &inbox, Some(PAIR.as_bytes()), watching).await });
            let (stop_sending, stop_receiving) = (sending.abort_handle(), receiving.abort_handle());
            let mut both = std::pin::pin!(async { tokio::join!(sending, receiving) });
            tokio::select! {
                ended = &mut both => return ended,
                () = meter.reached.notified() => {}
                () = tokio::time::sleep(HANGS_AFTER) => panic!("nobody hangs"),
            }
            if let Some(act) = &meanwhile {
                self.model.act(act);
            }
            match mishap {
                Mishap::KillSender(_) => stop_sending.abort(),
                Mishap::KillReceiver(_) => stop_receiving.abort(),
                _ => {}
            }
            tokio::time::timeout(HANGS_AFTER, both).await.expect("nobody hangs")
        });
        self.tell(&(&sent, &received));
        self.receiver.note(&watcher);
        if !matches!(&sent, Ok(Ok(sent)) if sent.interruption.is_none()) {
            self.cut.insert(transfer.id);
        }
        if let Some(panic) = sent.err().and_then(|error| error.try_into_panic().ok()) {
            resume_unwind(panic);
        }
        if let Some(panic) = received.err().and_then(|error| error.try_into_panic().ok()) {
            expect_power_cut(panic);
        }
    }
}
