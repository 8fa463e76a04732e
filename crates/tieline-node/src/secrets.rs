//! What the machine keeps secret for one end: `NAME.key`.
//!
//! A small TOML file that nobody but its owner may read (mode 0600, or it is refused). It is written whole and at once,
//! by the program only. Its life follows the pairing:
//!
//! | | the inviting end | the invited end |
//! |---|---|---|
//! | made by | `new`: `private-key`, `invitation` | `join`: `private-key`, `preshared-key`, `proof` |
//! | when paired | `peer-public-key` and `preshared-key` come, `invitation` goes | at the first session `proof` goes |
//!
//! An imported line has `private-key`, and `preshared-key` if the two use one. Keys are written as `wg` writes them.

use std::fmt::Write as _;
use std::path::Path;

use data_encoding::BASE64;
use tieline_seal::{InvitationSecret, KeyError, PresharedKey, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::config::Mistake;
use crate::config::document::{At, parse};
use crate::config::problems::{Collector, Problems};
use crate::kept_file::{self, Existing, SECRET_MODE};

pub use crate::kept_file::WriteError;

/// Bytes of a key file; a full one has about 600.
pub const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The keys of one end, and where its pairing stands. Its debug form shows none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// This end's own key.
    pub private_key: PrivateKey,
    /// The key both ends share beforehand, if they do.
    pub preshared_key: Option<PresharedKey>,
    /// The far end, as pairing found it.
    pub peer_public_key: Option<PublicKey>,
    /// Our invitation that nobody has taken yet.
    pub invitation: Option<InvitationSecret>,
    /// The invitation we took, until the far end has seen that we have it.
    pub proof: Option<InvitationSecret>,
}

impl Secrets {
    /// The secrets of an end whose far end is known by its key.
    #[must_use]
    pub fn new(private_key: PrivateKey) -> Self {
        Self { private_key, preshared_key: None, peer_public_key: None, invitation: None, proof: None }
    }

    /// The secrets of an end that has just invited.
    #[must_use]
    pub fn inviting(private_key: PrivateKey, invitation: InvitationSecret) -> Self {
        Self { invitation: Some(invitation), ..Self::new(private_key) }
    }

    /// The secrets of an end that has just been invited.
    #[must_use]
    pub fn joining(private_key: PrivateKey, invitation: InvitationSecret) -> Self {
        let preshared_key = Some(invitation.preshared_key());
        Self { preshared_key, proof: Some(invitation), ..Self::new(private_key) }
    }

    /// Notes who took our invitation; it is void from now on.
    pub fn on_paired(&mut self, peer: PublicKey, preshared_key: PresharedKey) {
        self.peer_public_key = Some(peer);
        self.preshared_key = Some(preshared_key);
        self.invitation = None;
    }

    /// Notes that the far end has accepted our proof; it is not shown again.
    pub fn on_proved(&mut self) {
        self.proof = None;
    }

    /// Reads the key file.
    ///
    /// # Errors
    ///
    /// Every mistake in it; a file that others may read is refused unread.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let text = kept_file::read_secret_text(file, FILE_BYTES_MAX)
            .map_err(|mistake| Problems::of_file(file, mistake))?;
        Self::parse(file, &text)
    }

    /// Reads the text of a key file; `file` is only named in problems.
    ///
    /// # Errors
    ///
    /// Every mistake in it, none with a secret in it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let mut problems = Collector::new(file, text);
        let mut table = parse(text, &mut problems);
        let what_to_do = "without it this end is nobody; make the line anew with `tieline new`";
        let private_key = table.required_text("private-key", what_to_do, &mut problems);
        let private_key = convert(private_key, &mut problems, key);
        let preshared_key = convert(table.text("preshared-key", &mut problems), &mut problems, key);
        let peer_public_key = convert(table.text("peer-public-key", &mut problems), &mut problems, key);
        let invitation = convert(table.text("invitation", &mut problems), &mut problems, invitation_secret);
        let proof = table.text("proof", &mut problems);
        if let (Some(_), Some(written)) = (&invitation, &proof) {
            written.wrong(&mut problems, Mistake::BothEnds);
        }
        let proof = convert(proof, &mut problems, invitation_secret);
        table.finish_secret(&mut problems);
        match problems.finish() {
            Some(problems) => Err(problems),
            None => {
                let private_key = private_key.expect("a key that is missing or wrong was noted");
                Ok(Self { private_key, preshared_key, peer_public_key, invitation, proof })
            }
        }
    }

    /// Writes the key file in the place of the old one; after a crash it is the old one or the new one.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn save(&self, file: &Path) -> Result<(), WriteError> {
        kept_file::write(file, self.to_text().as_bytes(), SECRET_MODE, Existing::Replace)
    }

    /// Writes the key file of a line that is new.
    ///
    /// # Errors
    ///
    /// [`std::io::ErrorKind::AlreadyExists`] if there is one, which stays; else what the system said.
    pub fn create(&self, file: &Path) -> Result<(), WriteError> {
        kept_file::write(file, self.to_text().as_bytes(), SECRET_MODE, Existing::Keep)
    }

    fn to_text(&self) -> Zeroizing<String> {
        // Room for everything at once: a text that grows leaves copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(1024));
        text.push_str("# Kept by tieline; not to be edited, and not to be shown to anybody.\n");
        row(&mut text, "private-key", &self.private_key.reveal());
        if let Some(key) = &self.preshared_key {
            row(&mut text, "preshared-key", &key.reveal());
        }
        if let Some(key) = &self.peer_public_key {
            row(&mut text, "peer-public-key", &key.to_string());
        }
        for (name, secret) in [("invitation", &self.invitation), ("proof", &self.proof)] {
            if let Some(secret) = secret {
                row(&mut text, name, &Zeroizing::new(BASE64.encode(secret.expose())));
            }
        }
        text
    }
}

fn convert<T>(
    written: Option<At<String>>,
    problems: &mut Collector<'_>,
    read: impl FnOnce(&str) -> Result<T, Mistake>,
) -> Option<T> {
    let written = written?.map(Zeroizing::new);
    read(&written.value).map_err(|mistake| written.wrong(problems, mistake)).ok()
}

fn key<K: std::str::FromStr<Err = KeyError>>(text: &str) -> Result<K, Mistake> {
    Ok(text.parse()?)
}

fn invitation_secret(text: &str) -> Result<InvitationSecret, Mistake> {
    let mistake = || Mistake::Secret { octets: InvitationSecret::LEN };
    let octets = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| mistake())?);
    let octets = <[u8; InvitationSecret::LEN]>::try_from(octets.as_slice()).map_err(|_| mistake())?;
    Ok(InvitationSecret::from_bytes(octets))
}

fn row(text: &mut String, name: &str, value: &str) {
    // Base64 needs no escapes. Writing to a string cannot fail.
    let _ = writeln!(text, "{name} = \"{value}\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/tieline/berlin.key";
    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODw==";

    fn parse(text: &str) -> Result<Secrets, Problems> {
        Secrets::parse(Path::new(FILE), text)
    }

    fn secret() -> InvitationSecret {
        InvitationSecret::from_bytes(std::array::from_fn(|index| index as u8))
    }

    fn private_key() -> PrivateKey {
        KEY.parse().expect("a key")
    }

    #[test]
    fn both_ends_of_a_pairing_survive_the_file_at_every_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("berlin.key");
        let mut inviting = Secrets::inviting(private_key(), secret());
        inviting.create(&file).expect("made");
        assert_eq!(Secrets::load(&file).expect("read"), inviting);
        inviting.on_paired(PEER.parse().expect("a key"), secret().preshared_key());
        inviting.save(&file).expect("saved");
        assert_eq!(Secrets::load(&file).expect("read"), inviting);
        assert_eq!(inviting.invitation, None, "an invitation that was taken is void");

        let mut joining = Secrets::joining(private_key(), secret());
        joining.save(&file).expect("saved");
        assert_eq!(Secrets::load(&file).expect("read"), joining);
        assert_eq!(joining.preshared_key, inviting.preshared_key, "both ends derive the same key");
        joining.on_proved();
        joining.save(&file).expect("saved");
        assert_eq!(Secrets::load(&file).expect("read").proof, None);
    }

    #[test]
    fn the_file_is_readable_by_its_owner_only_and_never_made_twice() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("berlin.key");
        Secrets::new(private_key()).create(&file).expect("made");
        assert_eq!(std::fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
        let error = Secrets::new(private_key()).create(&file).expect_err("it is there");
        assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("ours");
        let problems = Secrets::load(&file).expect_err("open to the group").to_string();
        assert!(problems.contains("run `chmod 600"), "{problems}");
    }

    #[test]
    fn every_mistake_in_the_file_is_reported_at_once_and_none_shows_a_secret() {
        let text = format!(
            "private-key = \"{KEY}x\"\npreshared-key = 7\ninvitation = \"{SECRET}\"\nproof = \"AAEC\"\npsk = \"{KEY}\"\n"
        );
        let problems = parse(&text).expect_err("five mistakes").to_string();
        assert_eq!(
            problems.lines().collect::<Vec<_>>(),
            [
                "/etc/tieline/berlin.key:1:15: private-key: a key has 44 characters, this has 45",
                "/etc/tieline/berlin.key:2:17: preshared-key: must be a text in quotes, and is a whole number",
                "/etc/tieline/berlin.key:4:9: proof: stands beside an invitation of our own; a line is either the inviting or the invited end, make the line anew",
                "/etc/tieline/berlin.key:4:9: proof: is not the secret of an invitation, 16 octets in base64; pair anew with `tieline new`",
                "/etc/tieline/berlin.key:5:1: there is no such key; there are private-key, preshared-key, peer-public-key, invitation, proof",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_toml_does_not_give_its_keys_away() {
        for text in [
            format!("private-key = \"{KEY}"),
            format!("private-key {KEY}"),
            format!("{KEY}\n"),
            format!("[{KEY}"),
        ] {
            let problems = parse(&text).expect_err("no TOML");
            let shown = format!("{problems} {problems:?}");
            assert!(!shown.contains(&KEY[..12]), "{shown}");
        }
    }

    #[test]
    fn a_file_without_the_own_key_says_so() {
        let problems = parse("").expect_err("no key").to_string();
        assert_eq!(
            problems,
            "/etc/tieline/berlin.key:1:1: private-key: is missing; without it this end is nobody; make the line anew with `tieline new`"
        );
    }

    #[test]
    fn nothing_secret_is_in_the_debug_form() {
        let shown = format!(
            "{:?} {:?}",
            Secrets::inviting(private_key(), secret()),
            Secrets::joining(private_key(), secret())
        );
        assert!(
            !shown.contains(&KEY[..8]) && !shown.contains(&SECRET[..8]) && !shown.contains("0, 1, 2"),
            "{shown}"
        );
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}|([a-z-]{1,12} = \"[A-Za-z0-9+/=]{0,50}\"\\n){0,8}") {
            let _ = parse(&text);
        }
    }
}
