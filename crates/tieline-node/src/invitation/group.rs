//! One group: four characters of data and one that checks them, in their place.

use zeroize::Zeroize;

/// Characters of data in a group.
pub(super) const DATA_SYMBOLS: usize = 4;

/// Characters of a group.
pub(super) const SYMBOLS: usize = DATA_SYMBOLS + 1;

/// Bits of data in a group.
pub(super) const DATA_BITS: usize = 5 * DATA_SYMBOLS;

/// Values of one character.
pub(super) const SYMBOL_VALUES: u8 = 32;

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The field polynomial x⁵+x²+1, as bits.
const POLYNOMIAL: u8 = 0b10_0101;

/// Five characters as their values, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroize)]
pub(super) struct Group(pub(super) [u8; SYMBOLS]);

impl Group {
    /// Completes `data` to the group in place `number`, counted from 0.
    pub(super) fn new(data: [u8; DATA_SYMBOLS], number: usize) -> Self {
        let mut symbols = [0; SYMBOLS];
        symbols[..DATA_SYMBOLS].copy_from_slice(&data);
        symbols[DATA_SYMBOLS] = Self(symbols).syndrome() ^ place(number);
        Self(symbols)
    }

    /// Whether the group is whole, and is the one in place `number`.
    pub(super) fn checks_at(&self, number: usize) -> bool {
        self.syndrome() == place(number)
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.0[..DATA_SYMBOLS]
    }

    pub(super) fn write(&self, text: &mut String) {
        text.extend(self.0.iter().map(|symbol| character(*symbol)));
    }

    /// Σ αⁱ·cᵢ by Horner's rule; the check character has i = 0.
    fn syndrome(&self) -> u8 {
        self.0.iter().fold(0, |sum, symbol| times_alpha(sum) ^ symbol)
    }
}

/// Returns the character of a value.
pub(super) fn character(symbol: u8) -> char {
    char::from(ALPHABET[usize::from(symbol % SYMBOL_VALUES)])
}

/// Returns the value of a character, look-alikes included; `None` if it is none of ours.
pub(super) fn symbol(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        'U' => 'V',
        other => other,
    };
    let position = ALPHABET.iter().position(|byte| char::from(*byte) == upper)?;
    u8::try_from(position).ok()
}

fn place(number: usize) -> u8 {
    // The remainder is below 32.
    (number % usize::from(SYMBOL_VALUES)) as u8
}

fn times_alpha(element: u8) -> u8 {
    let shifted = element << 1;
    if shifted & SYMBOL_VALUES == 0 { shifted } else { shifted ^ POLYNOMIAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_generates_the_whole_field() {
        let mut seen = [false; 32];
        let mut element = 1;
        for _ in 0..31 {
            assert!(!seen[usize::from(element)]);
            seen[usize::from(element)] = true;
            element = times_alpha(element);
        }
        assert_eq!(element, 1);
    }

    #[test]
    fn every_character_is_read_as_it_is_written_and_look_alikes_as_their_twin() {
        for value in 0..SYMBOL_VALUES {
            assert_eq!(symbol(character(value)), Some(value));
            assert_eq!(symbol(character(value).to_ascii_lowercase()), Some(value));
        }
        for (written, twin) in "oOiIlLuU".chars().zip("001111VV".chars()) {
            assert_eq!(symbol(written), symbol(twin), "{written}");
        }
        for stranger in ['?', '-', 'é', '@', '\u{ff10}', '\u{0}'] {
            assert_eq!(symbol(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_group_checks_in_its_own_place_only() {
        let group = Group::new([3, 1, 4, 1], 7);
        let places: Vec<_> = (0..64).filter(|number| group.checks_at(*number)).collect();
        assert_eq!(places, [7, 39]);
    }
}
