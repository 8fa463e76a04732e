//! Which of the known words was probably meant.

/// Longest word that is compared; keys are far shorter.
const CHARACTERS_MAX: usize = 40;

/// Returns the known word that is nearest to `written`: equal but for case and `_`, or a third of its letters wrong at
/// most.
pub(crate) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let written: Vec<char> = written.chars().take(CHARACTERS_MAX + 1).map(spelled_as_a_key).collect();
    if written.len() > CHARACTERS_MAX {
        return None;
    }
    known
        .iter()
        .map(|word| (distance(&written, &word.chars().collect::<Vec<_>>()), *word))
        .filter(|(distance, word)| distance * 3 <= word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn spelled_as_a_key(character: char) -> char {
    if character == '_' { '-' } else { character.to_ascii_lowercase() }
}

/// How many letters must be added, removed, changed or swapped with their neighbour (optimal string alignment).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other_letter) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != other_letter);
            let mut best = changed.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && one[row - 1] == *other_letter && *letter == other[column - 1];
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["listen", "offer", "keepalive-seconds", "mtu"];

    #[test]
    fn a_misspelled_key_is_recognised() {
        let pairs = [
            ("lisen", "listen"),
            ("Listen", "listen"),
            ("offers", "offer"),
            ("keepalive_seconds", "keepalive-seconds"),
            ("keepalive-second", "keepalive-seconds"),
            ("mut", "mtu"),
        ];
        for (written, meant) in pairs {
            assert_eq!(nearest(written, &KEYS), Some(meant), "{written}");
        }
    }

    #[test]
    fn nothing_is_suggested_for_another_word() {
        for written in ["", "dns", "table", &"x".repeat(10_000)] {
            assert_eq!(nearest(written, &KEYS), None, "{written}");
        }
    }
}
