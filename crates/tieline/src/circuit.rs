//! What the two ends of a pipe say to each other, so that a break never looks like an end.
//!
//! Each side sends its input in frames, says when it has ended, and says when all of the other's input is at its output:
//!
//! | 0: length, big-endian (4) | 4: octets of the input (length, 1 to 262,144) |
//! | 0: zero (4) | my input has ended |
//! | 0: 0xFFFFFFFF (4) | all of your input, to its end, has left at my output |
//!
//! A side is done when it has said and heard both of the last two; a stream that ends before is broken. It then ends its
//! own way and waits until the far end has ended the other: only then has its last word arrived.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    time::timeout,
};

const LENGTH_LEN: usize = 4;
/// Octets of the input in one frame at most.
const FRAME_LEN_MAX: usize = 256 << 10;
const ENDED: u32 = 0;
const RECEIVED: u32 = u32::MAX;
/// How long to wait for the sign that the far end has our last word. Everything is there by then; without that word the
/// far end would not know it.
const LAST_WORD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Carries `input` to the far end and what comes from there to `output`, until both inputs have ended and both ends have
/// everything.
///
/// # Errors
///
/// What the streams say; `UnexpectedEof` if the far end goes before everything is there, `InvalidData` if it speaks otherwise.
pub(crate) async fn carry(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    line: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(line);
    let all_received = Notify::new();
    tokio::try_join!(send(input, &mut writer, &all_received), receive(&mut reader, output, &all_received))?;
    // Each may fail: the far end has said that it has everything, and may be gone already.
    let _ = writer.shutdown().await;
    let _ = timeout(LAST_WORD_WAIT_MAX, reader.read(&mut [0])).await;
    Ok(())
}

async fn send(
    mut input: impl AsyncRead + Unpin,
    writer: &mut (impl AsyncWrite + Unpin),
    all_received: &Notify,
) -> io::Result<()> {
    let mut frame = vec![0; LENGTH_LEN + FRAME_LEN_MAX];
    let (mut has_ended, mut has_confirmed) = (false, false);
    while !(has_ended && has_confirmed) {
        tokio::select! {
            read = input.read(&mut frame[LENGTH_LEN..]), if !has_ended => {
                let len = read?;
                has_ended = len == 0;
                #[expect(clippy::cast_possible_truncation, reason = "at most FRAME_LEN_MAX; zero says that it has ended")]
                frame[..LENGTH_LEN].copy_from_slice(&(len as u32).to_be_bytes());
                writer.write_all(&frame[..LENGTH_LEN + len]).await?;
            }
            () = all_received.notified(), if !has_confirmed => {
                has_confirmed = true;
                writer.write_all(&RECEIVED.to_be_bytes()).await?;
            }
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    mut output: impl AsyncWrite + Unpin,
    all_received: &Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; FRAME_LEN_MAX];
    let (mut has_ended, mut is_confirmed) = (false, false);
    while !(has_ended && is_confirmed) {
        let mut length = [0; LENGTH_LEN];
        reader.read_exact(&mut length).await?;
        match u32::from_be_bytes(length) {
            ENDED if !has_ended => {
                output.flush().await?;
                has_ended = true;
                all_received.notify_one();
            }
            RECEIVED if !is_confirmed => is_confirmed = true,
            length if !has_ended && (1..=FRAME_LEN_MAX).contains(&(length as usize)) => {
                let octets = &mut buffer[..length as usize];
                reader.read_exact(octets).await?;
                output.write_all(octets).await?;
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the far end sends no pipe")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_inputs_come_out_at_the_other_end() {
        let (near, far) = tokio::io::duplex(1000);
        let (there, back) = (vec![7; 700_000], vec![9; 3]);
        let (mut at_far, mut at_near) = (Vec::new(), Vec::new());
        let (one, other) =
            tokio::join!(carry(&there[..], &mut at_near, near), carry(&back[..], &mut at_far, far));
        one.unwrap();
        other.unwrap();
        assert!(at_far == there && at_near == back);
    }

    #[tokio::test]
    async fn empty_inputs_are_an_ordinary_pipe() {
        let (near, far) = tokio::io::duplex(16);
        let (one, other) = tokio::join!(carry(&[][..], Vec::new(), near), carry(&[][..], Vec::new(), far));
        one.unwrap();
        other.unwrap();
    }

    #[tokio::test]
    async fn stream_that_ends_early_is_broken_wherever_it_ends() {
        let whole =
            [&3_u32.to_be_bytes()[..], b"abc", &ENDED.to_be_bytes(), &RECEIVED.to_be_bytes()].concat();
        for len in 0..whole.len() {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(&whole[..len]).await.unwrap();
            far.shutdown().await.unwrap();
            let mut output = Vec::new();
            let (broken, _) = tokio::join!(carry(&b"x"[..], &mut output, near), async {
                // The other direction is taken, so that only the end is missing.
                let mut sink = Vec::new();
                let _ = far.read_to_end(&mut sink).await;
            });
            assert!(broken.is_err(), "ended after {len} octets");
        }
    }

    #[tokio::test]
    async fn input_that_nobody_confirmed_is_not_delivered() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(&ENDED.to_be_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        assert!(carry(&b"important"[..], Vec::new(), near).await.is_err());
    }

    #[tokio::test]
    async fn end_that_is_done_stays_until_the_far_end_has_its_last_word() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(&[ENDED.to_be_bytes(), RECEIVED.to_be_bytes()].concat()).await.unwrap();
        let carrying = carry(&[][..], Vec::new(), near);
        tokio::pin!(carrying);
        let mut said = Vec::new();
        tokio::select! {
            done = &mut carrying => panic!("the far end has not heard everything: {done:?}"),
            read = far.read_to_end(&mut said) => assert_eq!(read.unwrap(), 8),
        }
        assert!(
            timeout(Duration::from_millis(50), &mut carrying).await.is_err(),
            "the far end is still there"
        );
        drop(far);
        timeout(Duration::from_secs(5), carrying).await.expect("at once").unwrap();
    }

    #[tokio::test]
    async fn rubbish_is_refused() {
        for rubbish in [0x0004_0001_u32, 0x8000_0000] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(&rubbish.to_be_bytes()).await.unwrap();
            let error = carry(&[][..], Vec::new(), near).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
