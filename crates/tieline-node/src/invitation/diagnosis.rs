//! What happened to an invitation on its way, group by group.
//!
//! A group that does not check in the place where it is found may be wrong, or it may be right and elsewhere: then a
//! group before it was lost, doubled or swapped. Which of these explains best what is there is an alignment of the
//! groups found with the places they should have, of least cost.

use std::fmt::Write as _;

use super::InvitationError;
use super::group::{DATA_SYMBOLS, Group, SYMBOL_VALUES, SYMBOLS, character};
use super::octets::{GROUPS_MAX, GROUPS_MIN, Octets};
use super::reading::Word;

/// Flaws that are told one by one; with more, it is another text.
const FLAWS_TOLD_MAX: usize = 8;

/// Groups that are compared with their places; somewhat more than an invitation can have.
const GROUPS_COMPARED_MAX: usize = GROUPS_MAX + 45;

/// Of two explanations the cheaper one is believed: one lost or doubled group before two wrong ones in a row.
const COST_WRONG: usize = 2;
const COST_LOST: usize = 3;
const COST_ADDED: usize = 3;

/// What is wrong at one place. Groups are counted from 1, without the `tieline1` before them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The characters of a group contradict each other.
    #[error("group {group} {text:?} does not check: a character in it is wrong{}", meant(.suggestion))]
    Wrong {
        /// Which group.
        group: usize,
        /// As it was written.
        text: String,
        /// What was meant, where only one possibility makes the whole check.
        suggestion: Option<String>,
    },
    /// A group has too few characters, or too many.
    #[error("group {group} {text:?} has {found} characters and must have {SYMBOLS}{}", meant(.suggestion))]
    Length {
        /// Which group.
        group: usize,
        /// As it was written, cut.
        text: String,
        /// How many characters it has.
        found: usize,
        /// What was meant, where only one possibility makes the whole check.
        suggestion: Option<String>,
    },
    /// A group holds a character that no invitation holds.
    #[error("group {group} {text:?} holds {character:?}, which is in no invitation{}", meant(.suggestion))]
    Character {
        /// Which group.
        group: usize,
        /// As it was written.
        text: String,
        /// The character.
        character: char,
        /// What was meant, where only one possibility makes the whole check.
        suggestion: Option<String>,
    },
    /// Groups are not there.
    #[error("{} missing", places(*.first, *.last))]
    Missing {
        /// The first that is not there.
        first: usize,
        /// The last that is not there.
        last: usize,
    },
    /// Everything from a group on is not there.
    #[error("it ends too early: {} missing", places(*.first, *.total))]
    Truncated {
        /// The first group that is not there.
        first: usize,
        /// How many there should be.
        total: usize,
    },
    /// A group that should not be there.
    #[error("{text:?} after group {after} is one group too many")]
    Added {
        /// The group before it; 0 if it is the first.
        after: usize,
        /// As it was written, cut.
        text: String,
    },
    /// Two groups stand in each other's place.
    #[error("groups {first} and {second} are swapped")]
    Swapped {
        /// The earlier place.
        first: usize,
        /// The later place.
        second: usize,
    },
    /// Without dashes nobody can say more than where the characters begin to be shifted.
    #[error("the characters do not come out even: one is missing or too many in group {group}, or before it")]
    Shifted {
        /// The first group that does not check.
        group: usize,
    },
}

/// One step of an alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The group found stands in this place.
    Here { found: usize, place: usize },
    /// No group stands in this place.
    Lost { place: usize },
    /// The group found has no place.
    Added { found: usize, after: usize },
}

/// Says what is wrong with words that are not all groups in their places.
pub(super) fn diagnose(words: &[Word]) -> InvitationError {
    if let [only] = words
        && !only.symbols.len().is_multiple_of(SYMBOLS)
        && only.symbols.len() > SYMBOLS + 1
    {
        let whole = only.cut().into_iter().map(|word| word.group()).enumerate();
        let right =
            whole.take_while(|(place, group)| group.is_some_and(|group| group.checks_at(*place))).count();
        return InvitationError::Damaged(vec![Flaw::Shifted { group: right + 1 }]);
    }
    let even = |word: &Word| word.symbols.len().is_multiple_of(SYMBOLS);
    let words: Vec<Word> =
        words.iter().flat_map(|word| if even(word) { word.cut() } else { vec![word.clone()] }).collect();
    let compared = &words[..words.len().min(GROUPS_COMPARED_MAX)];
    let groups: Vec<Option<Group>> = compared.iter().map(Word::group).collect();
    let mut flaws = flaws(compared, &groups, total(&groups));
    if let [flaw] = &mut flaws[..] {
        suggest(compared, &groups, flaw);
    }
    // Words behind the last that is compared: whatever else is right, this is too long.
    if let Some(word) = words.get(compared.len()) {
        flaws.push(Flaw::Added { after: compared.len(), text: excerpt(&word.shown) });
    }
    if flaws.is_empty() { InvitationError::Checksum } else { InvitationError::Damaged(flaws) }
}

/// Puts flaws into one sentence.
pub(super) fn sentence(flaws: &[Flaw]) -> String {
    let told: Vec<String> = flaws.iter().take(FLAWS_TOLD_MAX).map(Flaw::to_string).collect();
    let mut sentence = told.join("; ");
    if flaws.len() > FLAWS_TOLD_MAX {
        // Writing to a string cannot fail.
        let _ = write!(sentence, "; and {} more", flaws.len() - FLAWS_TOLD_MAX);
    }
    sentence
}

/// How many groups there should be: what the first one says, if it can be believed, else what explains best.
fn total(groups: &[Option<Group>]) -> usize {
    let first = groups.first().copied().flatten().filter(|group| group.checks_at(0));
    let said = first.map(|group| usize::from(group.0[0]) << 3 | usize::from(group.0[1]) >> 2);
    if let Some(said) = said.filter(|said| (GROUPS_MIN..=GROUPS_MAX).contains(said)) {
        return said;
    }
    let found = groups.len();
    let near = [found, found + 1, found.saturating_sub(1), found + 2, found.saturating_sub(2)];
    near.into_iter().min_by_key(|total| align(groups, *total).0).unwrap_or(found)
}

fn flaws(words: &[Word], groups: &[Option<Group>], total: usize) -> Vec<Flaw> {
    let (_, steps) = align(groups, total);
    let mut wrong: Vec<(usize, usize)> = Vec::new();
    for step in &steps {
        if let Step::Here { found, place } = step
            && !stands(groups[*found], *place)
        {
            wrong.push((*found, *place));
        }
    }
    let swap_of = |(found, place): (usize, usize)| {
        wrong.iter().copied().find(|(other_found, other_place)| {
            *other_place != place
                && stands(groups[found], *other_place)
                && stands(groups[*other_found], place)
        })
    };
    let mut flaws = Vec::new();
    for step in steps {
        match step {
            Step::Here { found, place } if stands(groups[found], place) => {}
            Step::Here { found, place } => match swap_of((found, place)) {
                Some((_, other)) if other > place => {
                    flaws.push(Flaw::Swapped { first: place + 1, second: other + 1 });
                }
                Some(_) => {}
                None => flaws.push(flaw_of(&words[found], place)),
            },
            Step::Lost { place } => match flaws.last_mut() {
                Some(Flaw::Missing { last, .. }) if *last == place => *last += 1,
                _ => flaws.push(Flaw::Missing { first: place + 1, last: place + 1 }),
            },
            Step::Added { found, after } => {
                flaws.push(Flaw::Added { after, text: excerpt(&words[found].shown) })
            }
        }
    }
    if let Some(Flaw::Missing { first, last }) = flaws.last().cloned()
        && last == total
    {
        flaws.pop();
        flaws.push(Flaw::Truncated { first, total });
    }
    flaws
}

fn flaw_of(word: &Word, place: usize) -> Flaw {
    let (group, text, suggestion) = (place + 1, excerpt(&word.shown), None);
    let stranger = word.shown.chars().zip(&word.symbols).find(|(_, symbol)| symbol.is_none());
    match stranger {
        _ if word.symbols.len() != SYMBOLS => {
            Flaw::Length { group, text, found: word.symbols.len(), suggestion }
        }
        Some((character, _)) => Flaw::Character { group, text, character, suggestion },
        None => Flaw::Wrong { group, text, suggestion },
    }
}

fn stands(group: Option<Group>, place: usize) -> bool {
    group.is_some_and(|group| group.checks_at(place))
}

/// Finds the cheapest way in which `total` groups became what was found.
fn align(groups: &[Option<Group>], total: usize) -> (usize, Vec<Step>) {
    let width = total + 1;
    // cost[found * width + place]: of the first `found` groups on the first `place` places.
    let mut cost = vec![0; (groups.len() + 1) * width];
    let here = |found: usize, place: usize| if stands(groups[found], place) { 0 } else { COST_WRONG };
    for found in 0..=groups.len() {
        for place in 0..=total {
            let at = found * width + place;
            cost[at] = match (found, place) {
                (0, place) => place * COST_LOST,
                (found, 0) => found * COST_ADDED,
                (found, place) => (cost[at - width - 1] + here(found - 1, place - 1))
                    .min(cost[at - 1] + COST_LOST)
                    .min(cost[at - width] + COST_ADDED),
            };
        }
    }
    let mut steps = Vec::with_capacity(groups.len().max(total));
    let (mut found, mut place) = (groups.len(), total);
    while found > 0 || place > 0 {
        let at = found * width + place;
        // From the end: where two explanations cost the same, the end is lost and not the middle.
        if place > 0 && cost[at] == cost[at - 1] + COST_LOST {
            place -= 1;
            steps.push(Step::Lost { place });
        } else if found > 0 && place > 0 && cost[at] == cost[at - width - 1] + here(found - 1, place - 1) {
            (found, place) = (found - 1, place - 1);
            steps.push(Step::Here { found, place });
        } else {
            found -= 1;
            steps.push(Step::Added { found, after: place });
        }
    }
    steps.reverse();
    (cost[groups.len() * width + total], steps)
}

/// Completes a flaw with what was meant, if exactly one slip of the pen explains it and makes the whole check.
fn suggest(words: &[Word], groups: &[Option<Group>], flaw: &mut Flaw) {
    let (Flaw::Wrong { group, suggestion, .. }
    | Flaw::Length { group, suggestion, .. }
    | Flaw::Character { group, suggestion, .. }) = flaw
    else {
        return;
    };
    let place = *group - 1;
    let mut groups = groups.to_vec();
    groups[place] = Some(Group([0; SYMBOLS]));
    let Some(mut groups) = groups.into_iter().collect::<Option<Vec<Group>>>() else { return };
    let mut meant: Vec<Group> = Vec::new();
    for candidate in slips(&words[place].symbols).into_iter().filter(|candidate| candidate.checks_at(place)) {
        groups[place] = candidate;
        if Octets::from_groups(&groups).is_some() && !meant.contains(&candidate) {
            meant.push(candidate);
        }
    }
    if let [only] = meant[..] {
        *suggestion = Some(only.0.iter().map(|symbol| character(*symbol)).collect());
    }
}

/// Every group that becomes these characters by one slip: a wrong, a swapped, a lost or a doubled one.
fn slips(written: &[Option<u8>]) -> Vec<Group> {
    let mut slips = Vec::new();
    match written.len() {
        SYMBOLS => {
            for index in 0..SYMBOLS {
                slips.extend((0..SYMBOL_VALUES).filter_map(|value| {
                    let mut symbols = written.to_vec();
                    symbols[index] = Some(value);
                    whole(symbols)
                }));
            }
            for index in 0..DATA_SYMBOLS {
                let mut symbols = written.to_vec();
                symbols.swap(index, index + 1);
                slips.extend(whole(symbols));
            }
        }
        DATA_SYMBOLS => {
            for index in 0..SYMBOLS {
                slips.extend((0..SYMBOL_VALUES).filter_map(|value| {
                    let mut symbols = written.to_vec();
                    symbols.insert(index, Some(value));
                    whole(symbols)
                }));
            }
        }
        length if length == SYMBOLS + 1 => {
            for index in 0..length {
                let mut symbols = written.to_vec();
                symbols.remove(index);
                slips.extend(whole(symbols));
            }
        }
        _ => {}
    }
    slips
}

fn whole(symbols: Vec<Option<u8>>) -> Option<Group> {
    symbols.into_iter().collect::<Option<Vec<u8>>>()?.try_into().ok().map(Group)
}

fn meant(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |suggestion| format!("; it is probably {suggestion}"))
}

fn places(first: usize, last: usize) -> String {
    if first == last { format!("group {first} is") } else { format!("groups {first} to {last} are") }
}

fn excerpt(shown: &str) -> String {
    shown.chars().take(12).collect()
}
