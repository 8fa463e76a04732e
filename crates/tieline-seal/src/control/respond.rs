//! Answering handshakes: who may open one, and what it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tieline_wire::time::Now;
use tieline_wire::wireguard::{CookieReply, HandshakeInitiation, HandshakeResponse, MAC_LEN, SessionIndex};

use super::Control;
use crate::config::Event;
use crate::drops::DropReason;
use crate::inbound::reason_of;
use crate::noise::{Identified, Responder};
use crate::peer::PeerState;
use crate::session::{Agreed, Role, Session};

impl Control {
    /// Message 1 of a handshake that somebody opens. The checks go from cheap to dear; none of them is
    /// answered.
    pub(super) fn on_initiation(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let message = HandshakeInitiation::parse(datagram).map_err(reason_of)?;
        let covered = &datagram[..HandshakeInitiation::MAC2];
        let is_proved = self.peer.is_proved_by(covered, &message.mac2);
        self.check_macs(
            now.monotonic,
            from,
            datagram,
            message.sender,
            &message.mac1,
            &message.mac2,
            is_proved,
        )?;
        if matches!(self.peer, PeerState::Invited(_)) && !is_proved {
            return Err(DropReason::NoProof);
        }
        let ephemeral = self.random.secret();
        let identified = Responder::read(&self.own.private_key, ephemeral, &message.noise)
            .map_err(|_| DropReason::NotAuthentic)?;
        self.check_sender(now.monotonic, from, &identified).map_err(|reason| match reason {
            DropReason::UnknownPeer if self.peer.is_spent_by(covered, &message.mac2) => {
                DropReason::SpentInvitation
            }
            other => other,
        })?;
        self.peer.accept(now.monotonic, identified.peer, identified.timestamp);
        self.answer(now.monotonic, from, message.sender, identified)
    }

    /// MAC1, and under load MAC2. `is_proved` stands for MAC2 where that field proves an invitation.
    #[expect(clippy::too_many_arguments, reason = "the fields of two message types")]
    pub(super) fn check_macs(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sender: SessionIndex,
        mac1: &[u8; MAC_LEN],
        mac2: &[u8; MAC_LEN],
        is_proved: bool,
    ) -> Result<(), DropReason> {
        let mac2_at = datagram.len() - MAC_LEN;
        let mac1_at = mac2_at - MAC_LEN;
        if !self.own.mac1.verifies(&datagram[..mac1_at], mac1) {
            return Err(DropReason::BadMac1);
        }
        if !self.load.note_message(now) {
            return Ok(());
        }
        if is_proved || self.cookies.verifies(now, from, &datagram[..mac2_at], mac2) {
            return if self.load.admits(now, from.ip()) { Ok(()) } else { Err(DropReason::SourceRate) };
        }
        if matches!(self.peer, PeerState::Invited(_)) {
            return Err(DropReason::NoProof);
        }
        let reply = self.cookies.reply(now, &mut self.random, from, sender, mac1);
        let mut bytes = [0; CookieReply::LEN];
        reply.emit(&mut bytes);
        self.transmit(from, &bytes);
        Err(DropReason::CookieDemanded)
    }

    /// Whether the sender may have a session now.
    fn check_sender(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: &Identified,
    ) -> Result<(), DropReason> {
        if sender.peer == self.own.public_key {
            return Err(DropReason::UnknownPeer);
        }
        let displaces = self.peer.check(now, &sender.peer, sender.timestamp)?;
        if self.held_address.is_some_and(|held| held != from) {
            return Err(DropReason::HeldAddress);
        }
        if displaces && !self.retire_waiting() {
            // The candidate's first packet opened this moment.
            self.look(now);
            return Err(DropReason::SpentInvitation);
        }
        Ok(())
    }

    /// Gives up the sessions in waiting; false if one of them is confirmed already.
    fn retire_waiting(&mut self) -> bool {
        let table = self.shared.table.load_full();
        let all = table.next.iter().all(|session| session.retire());
        if all {
            self.change_table(|table| table.next.clear());
        }
        all
    }

    fn answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        remote_index: SessionIndex,
        sender: Identified,
    ) -> Result<(), DropReason> {
        let local_index = self.fresh_index();
        let (keys, noise) =
            sender.respond(self.peer.preshared_key()).map_err(|_| DropReason::NotAuthentic)?;
        let Some(remote) = self.peer.remote_mut() else { return Err(DropReason::UnknownPeer) };
        let mut message = HandshakeResponse {
            sender: local_index,
            receiver: remote_index,
            noise,
            mac1: [0; MAC_LEN],
            mac2: [0; MAC_LEN],
        };
        let mut bytes = [0; HandshakeResponse::LEN];
        message.emit(&mut bytes);
        message.mac1 = remote.mac1.mac(&[&bytes[..HandshakeResponse::MAC1]]);
        message.emit(&mut bytes);
        let covered = &bytes[..HandshakeResponse::MAC2];
        message.mac2 = remote.cookies.mac2(now, covered).unwrap_or_default();
        message.emit(&mut bytes);

        let aes_index = self.aes_index(local_index);
        let agreed =
            Agreed { local_index, aes_index, remote_index, role: Role::Responder, opened: now, with: from };
        let session = Session::new(self.next_serial(), agreed, now, &keys);
        self.derived_at = Some(now);
        self.answered = Some((local_index, message.mac1));
        self.add_waiting(Arc::new(session));
        let known_address = self.shared.table.load().address;
        self.tell(Event::HandshakeFrom { address: from, known_address });
        if known_address.is_none() {
            self.move_peer(from);
        }
        self.transmit(from, &bytes);
        Ok(())
    }

    /// Makes `session` the next one. The one that has waited longest is given up if there are too many.
    fn add_waiting(&mut self, session: Arc<Session>) {
        let oldest = self.shared.table.load().oldest_if_full().cloned();
        if let Some(oldest) = oldest
            && !oldest.retire()
        {
            self.look(self.looked_at);
        }
        self.change_table(|table| table.add_next(session));
    }
}
