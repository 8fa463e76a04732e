//! The control stream: each end says who it is and what it offers, and what it made of the other's offers.

use std::io;

use noq::{Connection, ConnectionError, RecvStream, SendStream};
use serde::Serialize;
use tieline_wire::control::{Accepted, ControlMessage, Hello, MESSAGE_LEN_MAX, NETWORKS_MAX, RefusedOffer};
use tokio::sync::mpsc;

use super::{Circuit, FromFarEnd, Inner, frame};
use crate::config::{INTERFACE_ADDRESSES_MAX, SUBNETS_MAX};

// Or a configuration that is allowed would make a hello that is not.
const _: () = assert!(SUBNETS_MAX + INTERFACE_ADDRESSES_MAX <= NETWORKS_MAX);

/// Priority in QUIC: before all others, which may bring much.
const PRIORITY: i32 = 2;
/// Octets of the refusal that stands for those that are left out.
const LEFT_OUT_LEN_MAX: usize = 256;

/// Opens the control stream, or takes the first stream that the far end opens.
pub(super) async fn open(inner: &Inner, connection: &Connection) -> Result<Circuit, ConnectionError> {
    let opened = if inner.connects() { connection.open_bi().await } else { connection.accept_bi().await };
    let (send, recv) = opened?;
    // Fails only where nothing is sent any more.
    let _ = send.set_priority(PRIORITY);
    Ok(Circuit { send, recv })
}

/// Serves the control stream until it ends.
pub(super) async fn serve(inner: &Inner, stream: Circuit) -> io::Result<()> {
    tokio::try_join!(write(inner, stream.send), read(stream.recv, &inner.setup.reports))?;
    Ok(())
}

async fn write(inner: &Inner, mut send: SendStream) -> io::Result<()> {
    let (mut accepted, mut internet) = (inner.accepted.subscribe(), inner.internet.subscribe());
    let labels = inner.setup.labels.give_out().emit();
    accepted.mark_changed();
    internet.mark_changed();
    loop {
        // The hello first of all.
        tokio::select! {
            biased;
            changed = internet.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let internet = *internet.borrow_and_update();
                let hello = Hello { labels: labels.clone(), internet, ..inner.setup.hello.clone() };
                frame::write(&mut send, &ControlMessage::Hello(hello)).await?;
            }
            changed = accepted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let message = accepted.borrow_and_update().clone();
                if let Some(accepted) = message {
                    frame::write(&mut send, &ControlMessage::Accepted(cut_to_fit(accepted))).await?;
                }
            }
        }
    }
}

/// As many refusals as one message has room for. The last one stands for those that are left out, and says how many.
fn cut_to_fit(mut accepted: Accepted) -> Accepted {
    accepted.accepted.truncate(NETWORKS_MAX);
    let refused = std::mem::take(&mut accepted.refused);
    let room = MESSAGE_LEN_MAX.saturating_sub(json_len(&ControlMessage::Accepted(accepted.clone())));
    let mut fitting = count_fitting(&refused, room, NETWORKS_MAX);
    if fitting < refused.len() {
        fitting = count_fitting(&refused, room.saturating_sub(LEFT_OUT_LEN_MAX), NETWORKS_MAX - 1);
    }
    let left_out = refused.len() - fitting;
    let mut refused = refused.into_iter();
    accepted.refused = refused.by_ref().take(fitting).collect();
    accepted.refused.extend(refused.next().map(|first| {
        tracing::warn!(left_out, "more networks are refused than the far end can be told of");
        let reason = format!(
            "one of {left_out} refused networks for whose reasons a message has no room; `tieline status` at the end that refuses them says more"
        );
        RefusedOffer { network: first.network, reason }
    }));
    accepted
}

/// How many of the first entries, up to `max`, have room in so many octets.
fn count_fitting(refused: &[RefusedOffer], room: usize, max: usize) -> usize {
    let ends = refused.iter().scan(0_usize, |end, refused| {
        // With its comma.
        *end = end.saturating_add(json_len(refused)).saturating_add(1);
        Some(*end)
    });
    ends.take(max).take_while(|end| *end <= room).count()
}

fn json_len(message: &impl Serialize) -> usize {
    // What cannot be written has no room; writing it then says why.
    serde_json::to_vec(message).map_or(usize::MAX, |json| json.len())
}

async fn read(mut recv: RecvStream, reports: &mpsc::Sender<FromFarEnd>) -> io::Result<()> {
    loop {
        let report = match frame::read_control(&mut recv).await? {
            ControlMessage::Hello(hello) => FromFarEnd::Hello(hello),
            ControlMessage::Accepted(accepted) => FromFarEnd::Accepted(accepted),
            ControlMessage::Unknown => continue,
        };
        // Waits if control is busy; the stream's window then holds the far end back.
        if reports.send(report).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use tieline_wire::control::{emit, parse_control};

    use super::*;

    fn network(index: usize) -> IpNet {
        format!("2001:db8:1234:5678:9abc:def0:{:x}:{:x}/128", 0x1000 + index, 0x2000).parse().unwrap()
    }

    fn refused(count: usize, reason: &str) -> Vec<RefusedOffer> {
        (0..count).map(|index| RefusedOffer { network: network(index), reason: reason.to_owned() }).collect()
    }

    /// What the far end reads of it.
    fn sent(accepted: Accepted) -> Accepted {
        let bytes = emit(&ControlMessage::Accepted(cut_to_fit(accepted))).expect("it fits into a message");
        match parse_control(&bytes[4..]).expect("the far end takes it") {
            ControlMessage::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_sent_as_it_is() {
        let accepted = Accepted { accepted: vec![network(7)], refused: refused(NETWORKS_MAX, "no") };
        assert_eq!(sent(accepted.clone()), accepted);
        assert_eq!(sent(Accepted::default()), Accepted::default());
    }

    #[test]
    fn refusals_that_have_no_room_are_counted_in_the_last_one() {
        for (count, reason_len) in
            [(NETWORKS_MAX, 200), (NETWORKS_MAX, 1000), (NETWORKS_MAX + 50, 1), (9, 9000)]
        {
            // Characters that take more room in JSON than they count.
            let all = refused(count, &"\"".repeat(reason_len));
            let accepted = (0..NETWORKS_MAX).map(network).collect();
            let sent = sent(Accepted { accepted, refused: all.clone() });
            assert_eq!(sent.accepted.len(), NETWORKS_MAX);
            let (last, whole) = sent.refused.split_last().unwrap();
            assert_eq!(whole, &all[..whole.len()]);
            assert_eq!(last.network, all[whole.len()].network);
            let left_out = count - whole.len();
            assert!(last.reason.contains(&format!("one of {left_out} refused")), "{}", last.reason);
        }
    }

    #[test]
    fn one_reason_longer_than_a_message_is_left_out() {
        let sent = sent(Accepted { accepted: vec![], refused: refused(1, &"r".repeat(MESSAGE_LEN_MAX)) });
        assert_eq!(sent.refused.len(), 1);
        assert!(sent.refused[0].reason.contains("one of 1 "), "{}", sent.refused[0].reason);
    }

    #[test]
    fn hello_with_everything_that_a_configuration_may_hold_is_taken() {
        let offers = (0..SUBNETS_MAX + INTERFACE_ADDRESSES_MAX).map(network).collect();
        let hello =
            ControlMessage::Hello(Hello { offers, name: "\u{10ffff}".repeat(64), ..Hello::default() });
        let bytes = emit(&hello).expect("it fits into a message");
        assert_eq!(parse_control(&bytes[4..]).unwrap(), hello);
    }
}
