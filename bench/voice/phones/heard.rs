//! Speech that is said again and again, and how it was heard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::options::Options;

/// Samples in a second, of 16 bits.
const RATE: usize = 8000;
/// What is said, from a recorded prompt, and the silence behind it.
pub(crate) const PHRASE: Duration = Duration::from_secs(8);
const SILENCE: Duration = Duration::from_secs(1);
/// How long it is said: longer than any call of ours.
const SAID_FOR: Duration = Duration::from_secs(120);
/// Octets before the samples of a file in the format that we write.
const HEADER_LEN: usize = 44;

pub(super) struct Speech {
    phrase: PathBuf,
    /// Again and again, as a file of sound.
    pub(super) said: PathBuf,
    /// The same as a phone sends it.
    pub(super) alaw: PathBuf,
    script: PathBuf,
}

impl Speech {
    /// Makes the files of it in `folder`.
    pub(super) fn prepare(options: &Options, folder: &Path) -> Result<Self, String> {
        let fault = |file: &Path, error: std::io::Error| format!("{}: {error}", file.display());
        let octets = fs::read(&options.speech).map_err(|error| fault(&options.speech, error))?;
        let phrase = phrase(&octets).ok_or_else(|| {
            format!(
                "{} is no file of {} s of sound, 8 kHz, 16 bits",
                options.speech.display(),
                PHRASE.as_secs()
            )
        })?;
        let mut once = phrase.clone();
        once.resize(once.len() + RATE * SILENCE.as_secs() as usize, 0);
        let times = SAID_FOR.as_secs() / (PHRASE + SILENCE).as_secs();
        let said: Vec<i16> = std::iter::repeat_n(once, times as usize).flatten().collect();
        let write = |name: &str, octets: &[u8]| {
            let file = folder.join(name);
            fs::write(&file, octets).map_err(|error| fault(&file, error))?;
            Ok::<_, String>(file)
        };
        Ok(Self {
            phrase: write("phrase.wav", &wave(&phrase))?,
            said: write("said.wav", &wave(&said))?,
            alaw: write("said.al", &said.iter().map(|sample| alaw(*sample)).collect::<Vec<_>>())?,
            script: write("listen.py", include_bytes!("listen.py"))?,
        })
    }

    /// When in a recording the phrase was heard, and each time how well.
    pub(super) fn judge(&self, options: &Options, recording: &Path) -> Result<Vec<(Duration, f64)>, String> {
        let period = (PHRASE + SILENCE).as_secs().to_string();
        let output = Command::new(&options.python)
            .args([&self.script, &self.phrase, recording])
            .arg(period)
            .output()
            .map_err(|error| format!("{}: {error}", options.python.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found: Value = serde_json::from_str(&said)
            .map_err(|_| format!("PESQ: {}", String::from_utf8_lossy(&output.stderr)))?;
        let score =
            |pair: &Value| Some((Duration::try_from_secs_f64(pair[0].as_f64()?).ok()?, pair[1].as_f64()?));
        Ok(found.as_array().into_iter().flatten().filter_map(score).collect())
    }
}

/// The first seconds of sound of a file of it.
fn phrase(octets: &[u8]) -> Option<Vec<i16>> {
    let (kind, rate) = (octets.get(8..12)?, octets.get(24..28)?.first_chunk()?);
    let (channels, bits) = (octets.get(22..24)?, octets.get(34..36)?);
    let is_ours =
        kind == b"WAVE" && u32::from_le_bytes(*rate) == RATE as u32 && channels == [1, 0] && bits == [16, 0];
    let begin = octets.windows(4).position(|name| name == b"data")? + 8;
    let samples = octets.get(begin..begin + 2 * RATE * PHRASE.as_secs() as usize)?;
    let samples = samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    is_ours.then(|| samples.collect())
}

/// A file of sound: RIFF, one channel of 16 bits.
fn wave(samples: &[i16]) -> Vec<u8> {
    let len = (2 * samples.len()) as u32;
    let mut file = Vec::with_capacity(HEADER_LEN + len as usize);
    let (rate, octets_per_second) = (RATE as u32, 2 * RATE as u32);
    file.extend(b"RIFF");
    file.extend((len + HEADER_LEN as u32 - 8).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend(rate.to_le_bytes());
    file.extend(octets_per_second.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(len.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// A sample as G.711 has it in Europe (ITU-T G.711 §3.2): sign, segment, place in the segment, every other bit turned over.
fn alaw(sample: i16) -> u8 {
    const TURNED: u8 = 0x55;
    let (sign, magnitude) = if sample >= 0 { (0x80, sample >> 3) } else { (0, (-1 - sample) >> 3) };
    let magnitude = magnitude as u16;
    let segment = (u16::BITS - (magnitude >> 5).leading_zeros()) as u16;
    let place = if segment == 0 { magnitude >> 1 } else { magnitude >> segment };
    (sign | (segment << 4) as u8 | (place & 0x0f) as u8) ^ TURNED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_sound_is_read_as_it_was_written() {
        let samples: Vec<i16> = (0..RATE * 9).map(|place| (place % 1000) as i16 - 500).collect();
        let found = phrase(&wave(&samples)).expect("sound");
        assert_eq!(found, samples[..RATE * 8]);
        assert_eq!(phrase(&wave(&samples[..RATE])), None, "too short");
        assert_eq!(phrase(b"RIFF"), None);
    }

    #[test]
    fn known_samples_have_their_known_code() {
        for (sample, code) in [
            (0, 0xd5),
            (-1, 0x55),
            (8, 0xd5),
            (16, 0xd4),
            (-17, 0x54),
            (256, 0xc5),
            (512, 0xf5),
            (32_767, 0xaa),
            (-32_768, 0x2a),
        ] {
            assert_eq!(alaw(sample), code, "{sample}");
        }
    }
}
