//! An invitation that was right until somebody retyped it: never taken for another one, whatever the mistakes are.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_node::invitation::Invitation;
use tieline_seal::{InvitationSecret, PrivateKey};

#[derive(Arbitrary, Debug)]
struct Input {
    secret: [u8; InvitationSecret::LEN],
    address: [u8; 4],
    port: u16,
    edits: Vec<Edit>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Edit {
    Replace(u16, char),
    Insert(u16, char),
    Remove(u16),
    Swap(u16),
    Repeat(u16, u8),
    Cut(u16),
}

fuzz_target!(|input: Input| {
    let address = SocketAddr::new(Ipv4Addr::from(input.address).into(), input.port);
    let Ok(address) = address.to_string().parse() else { return };
    let key = PrivateKey::from_bytes([7; 32]).public_key();
    let secret = InvitationSecret::from_bytes(input.secret);
    let Ok(invitation) = Invitation::new(key, secret, vec![address], None) else { return };
    let written = invitation.reveal();
    let mut characters: Vec<char> = written.chars().collect();
    for edit in input.edits.into_iter().take(EDITS_MAX) {
        apply(edit, &mut characters);
    }
    let typed: String = characters.into_iter().collect();
    match typed.parse::<Invitation>() {
        // Hyphens, spaces, case and look-alikes do not matter; everything else does.
        Ok(read) => assert_eq!(*read.reveal(), *written, "{typed}"),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});

fn apply(edit: Edit, characters: &mut Vec<char>) {
    let len = characters.len();
    let within = |at: u16| usize::from(at) % len.max(1);
    match edit {
        Edit::Insert(at, character) => characters.insert(within(at), character),
        _ if len == 0 => {}
        Edit::Replace(at, character) => characters[within(at)] = character,
        Edit::Remove(at) => drop(characters.remove(within(at))),
        Edit::Swap(at) => characters.swap(within(at), (within(at) + 1) % len),
        Edit::Repeat(at, times) => {
            let character = characters[within(at)];
            characters.splice(within(at)..within(at), std::iter::repeat_n(character, times.into()));
        }
        Edit::Cut(at) => characters.truncate(within(at)),
    }
}

/// Few enough that the checksum is what decides, and not chance: with many edits any other invitation can be made.
const EDITS_MAX: usize = 8;
