//! What one end remembers from one process to the next, in the runtime folder: enough to be back at once after a kill.
//!
//! The kernel forgets it with everything else at a reboot, and it may be deleted at any time: the line then takes a few round
//! trips more to come up. Nothing in it is secret.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tieline_seal::{PublicKey, Tai64N};
use tieline_wire::control::Internet;

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// A clock that was ahead by more than this is set back by hand, and the far end's memory of it is gone by then too.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The state of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct State {
    /// Whose address, name and offers these are, in base64.
    pub peer_public_key: Option<String>,
    /// Where the far end was last heard from.
    pub peer_address: Option<SocketAddr>,
    /// What the far end last called itself.
    pub peer_name: Option<String>,
    /// What the far end last offered.
    pub peer_offers: Vec<IpNet>,
    /// Which internet connection the far end last offered.
    pub peer_internet: Option<Internet>,
    /// The greatest handshake timestamp sent, as 24 hexadecimal digits (TAI64N).
    pub last_timestamp: Option<String>,
}

impl State {
    /// Reads the state; one that is missing or unreadable is empty, since nothing depends on it but time.
    #[must_use]
    pub fn load(file: &Path) -> Self {
        match read(file) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the remembered state is of no use and ignored");
                Self::default()
            }
        }
    }

    /// What of it is true of the far end with the key `peer`: a line that was paired anew has another one, and what the one
    /// before said of itself must not be let in or dialled.
    #[must_use]
    pub fn of_peer(self, peer: Option<PublicKey>) -> Self {
        let peer_public_key = peer.map(|peer| peer.to_string());
        if self.peer_public_key == peer_public_key {
            return self;
        }
        Self { peer_public_key, last_timestamp: self.last_timestamp, ..Self::default() }
    }

    /// Remembers the greatest timestamp sent.
    pub fn set_last_timestamp(&mut self, timestamp: Option<Tai64N>) {
        self.last_timestamp = timestamp.map(|timestamp| HEXLOWER.encode(&timestamp.to_bytes()));
    }

    /// The greatest timestamp sent by an earlier process, unless it lies so far ahead of `wall` that it must be rubbish.
    #[must_use]
    pub fn timestamp_floor(&self, wall: SystemTime) -> Option<Tai64N> {
        let bytes = HEXLOWER.decode(self.last_timestamp.as_ref()?.as_bytes()).ok()?;
        let timestamp = Tai64N::from_bytes(bytes.try_into().ok()?);
        let plausible = timestamp.to_wall().is_some_and(|sent| sent < wall + CLOCK_STEP_MAX);
        plausible.then_some(timestamp)
    }

    /// Writes the state in one step.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let partial = with_suffix(file, ".new");
        std::fs::write(&partial, serde_json::to_vec(self)?)?;
        std::fs::rename(&partial, file)
    }
}

fn read(file: &Path) -> io::Result<State> {
    if std::fs::metadata(file)?.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_and_rubbish_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("berlin.state");
        assert_eq!(State::load(&file), State::default());
        let state = State {
            peer_address: Some("198.51.100.7:51820".parse().unwrap()),
            peer_offers: vec!["10.2.0.0/24".parse().unwrap()],
            ..State::default()
        };
        state.save(&file).unwrap();
        assert_eq!(State::load(&file), state);
        std::fs::write(&file, b"{\"peer-address\":7}").unwrap();
        assert_eq!(State::load(&file), State::default());
    }
    #[test]
    fn what_another_far_end_said_is_forgotten_but_not_our_own_timestamp() {
        let [key, other] = [[1; 32], [2; 32]].map(PublicKey::from_bytes);
        let state = State {
            peer_public_key: Some(key.to_string()),
            peer_address: Some("198.51.100.7:51820".parse().unwrap()),
            peer_name: Some("berlin".to_owned()),
            peer_offers: vec!["10.2.0.0/24".parse().unwrap()],
            peer_internet: Some(Internet { ipv4: true, ipv6: false }),
            last_timestamp: Some("400000000000000000000000".to_owned()),
        };
        assert_eq!(state.clone().of_peer(Some(key)), state);
        let anew = state.of_peer(Some(other));
        assert_eq!(anew.peer_public_key, Some(other.to_string()));
        assert_eq!((anew.peer_address, anew.peer_name, anew.peer_offers), (None, None, Vec::new()));
        assert_eq!(anew.peer_internet, None);
        assert!(anew.last_timestamp.is_some());
    }
}
