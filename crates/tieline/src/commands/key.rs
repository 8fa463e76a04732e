//! `key`: WireGuard keys, as `wg genkey`, `wg pubkey` and `wg genpsk` make them.

use std::io::{self, Read, Write};

use clap::Subcommand;
use rand::TryRngCore;
use rand::rngs::OsRng;
use rustix::fs::FileType;
use tieline_seal::{KeyError, PresharedKey, PrivateKey};
use zeroize::Zeroizing;

use crate::failure::{CommandError, Exit, Failure};
use crate::output;

/// Characters of standard input that are read; a key has 44 and a newline.
const INPUT_BYTES_MAX: u64 = 1024;

/// Make WireGuard keys; lines made by `new` and `join` need none of this
#[derive(Clone, Copy, Debug, Subcommand)]
#[command(after_help = "Example: umask 077; tieline key gen | tee private | tieline key pub > public")]
pub(crate) enum KeyCommand {
    /// Print a new private key, as `wg genkey` does
    Gen,
    /// Read a private key from standard input and print its public key, as `wg pubkey` does
    Pub,
    /// Print a new preshared key, as `wg genpsk` does
    Psk,
}

/// There is no public key to print.
#[derive(Debug, thiserror::Error)]
enum PublicKeyError {
    #[error("standard input cannot be read")]
    Input(#[source] io::Error),
    #[error("standard input holds no private key")]
    Key(#[source] KeyError),
    #[error("standard input is not text")]
    NotText,
}

impl CommandError for PublicKeyError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Prints the key.
///
/// # Errors
///
/// If standard input holds no key, or standard output does not take one.
pub(crate) fn run(command: KeyCommand) -> Result<(), Failure> {
    let rng = &mut OsRng.unwrap_err();
    let key = match command {
        KeyCommand::Gen => PrivateKey::generate(rng).reveal(),
        KeyCommand::Psk => PresharedKey::generate(rng).reveal(),
        KeyCommand::Pub => Zeroizing::new(read_private_key()?.public_key().to_string()),
    };
    if matches!(command, KeyCommand::Gen | KeyCommand::Psk) {
        warn_of_open_file();
    }
    output::text(&key)?;
    Ok(output::text("\n")?)
}

fn read_private_key() -> Result<PrivateKey, PublicKeyError> {
    // Room for all of it at once: a buffer that grows leaves copies of the key behind.
    let mut input = Zeroizing::new(Vec::with_capacity(2 * INPUT_BYTES_MAX as usize));
    io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut input).map_err(PublicKeyError::Input)?;
    let text = std::str::from_utf8(&input).map_err(|_| PublicKeyError::NotText)?;
    text.parse().map_err(PublicKeyError::Key)
}

/// A secret that is redirected into a file for everybody is told, as `wg` does.
fn warn_of_open_file() {
    let Ok(status) = rustix::fs::fstat(io::stdout()) else { return };
    if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile && status.st_mode & 0o077 != 0 {
        // Whether the warning is heard does not change what is printed.
        let _ = writeln!(
            io::stderr(),
            "tieline: others may read the file that this secret goes to; set `umask 077` first"
        );
    }
}
