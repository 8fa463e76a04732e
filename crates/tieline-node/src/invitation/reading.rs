//! From text that people and mail programs handled to the characters of an invitation.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::group::{Group, SYMBOLS, symbol};
use super::{InvitationError, PREFIX, VERSION};

/// What `tieline` looks like when look-alikes are read as one.
const NAME_FOLDED: &str = "T1E11NE";

/// Digits of a version number that are worth reading.
const VERSION_DIGITS_MAX: usize = 4;

/// What stands between two dashes: as shown to people, and as values; `None` for a character that is none of ours.
/// Most of it is secret, so it is erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Word {
    pub(super) shown: String,
    pub(super) symbols: Vec<Option<u8>>,
}

/// Checks the beginning and the version, and returns the words that follow.
pub(super) fn words_after_prefix(text: &str) -> Result<Vec<Word>, InvitationError> {
    let mut words = split(text);
    let begins =
        || InvitationError::Beginning { begins: text.trim_start().chars().take(PREFIX.len() + 4).collect() };
    let first = if words.is_empty() { return Err(begins()) } else { words.remove(0) };
    let folded: Zeroizing<String> = Zeroizing::new(first.chars().map(folded).collect());
    let rest = folded.strip_prefix(NAME_FOLDED).ok_or_else(begins)?;
    let is_number =
        (1..=VERSION_DIGITS_MAX).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit());
    match rest.parse() {
        Ok(VERSION) if is_number => {}
        Ok(version) if is_number && version > VERSION => return Err(InvitationError::Version { version }),
        _ => match rest.strip_prefix('1') {
            // The dash after the version was lost.
            Some(group) if group.len() % SYMBOLS == 0 && !group.is_empty() => {
                words.insert(0, Zeroizing::new(group.to_owned()))
            }
            _ => return Err(begins()),
        },
    }
    Ok(words.iter().map(|word| Word::new(word)).collect())
}

/// Returns the groups if all are whole and each is in its place, wherever the dashes are.
pub(super) fn groups(words: &[Word]) -> Option<Zeroizing<Vec<Group>>> {
    let symbols = words
        .iter()
        .flat_map(|word| &word.symbols)
        .copied()
        .collect::<Option<Vec<u8>>>()
        .map(Zeroizing::new)?;
    let (groups, rest) = symbols.as_chunks::<SYMBOLS>();
    let groups: Zeroizing<Vec<Group>> = Zeroizing::new(groups.iter().copied().map(Group).collect());
    let in_place = groups.iter().enumerate().all(|(number, group)| group.checks_at(number));
    (rest.is_empty() && in_place && !groups.is_empty()).then_some(groups)
}

impl Word {
    fn new(text: &str) -> Self {
        Self { shown: text.to_ascii_uppercase(), symbols: text.chars().map(symbol).collect() }
    }

    /// The group that the word is, if it can be one.
    pub(super) fn group(&self) -> Option<Group> {
        let symbols = self.symbols.iter().copied().collect::<Option<Vec<u8>>>()?;
        symbols.try_into().ok().map(Group)
    }

    /// Cuts a word of several groups, whose dashes were lost, into words of one.
    pub(super) fn cut(&self) -> Vec<Self> {
        let characters: Vec<char> = self.shown.chars().collect();
        let words = characters.chunks(SYMBOLS).zip(self.symbols.chunks(SYMBOLS));
        words
            .map(|(shown, symbols)| Self { shown: shown.iter().collect(), symbols: symbols.to_vec() })
            .collect()
    }
}

/// Cuts a text at its dashes; where all dashes were lost, at its spaces.
fn split(text: &str) -> Vec<Zeroizing<String>> {
    let separates = if text.contains(is_dash) { is_dash } else { char::is_whitespace };
    text.split(separates)
        .map(|word| word.chars().filter(|character| !is_noise(*character)).collect::<String>())
        .map(Zeroizing::new)
        .filter(|word| !word.is_empty())
        .collect()
}

/// Dashes that mail programs and word processors put in the place of a hyphen.
fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '\u{ad}' | '\u{2010}'
            ..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// What is added around and between groups: spaces and line breaks, also those without width; the marks of a quoted
/// mail; quotation marks and the end of a sentence.
fn is_noise(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}' | '\u{feff}')
        || matches!(
            character,
            '>' | '<' | '|' | '"' | '\'' | '`' | '*' | '_' | '.' | ',' | ':' | ';' | '(' | ')' | '[' | ']'
        )
        || matches!(character, '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2039}' | '\u{203a}')
}

fn folded(character: char) -> char {
    match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    }
}
