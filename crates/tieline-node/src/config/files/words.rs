//! A command in one text, taken apart into a program and its arguments.

/// Takes a text apart at its white space. As in a shell, `'…'` and `"…"` hold what has white space in it, and `\` takes from the character
/// behind it what it would mean; in `"…"` from `"` and `\` only, in `'…'` from none. Nothing else means anything.
///
/// None if a quote is not closed, or nothing is behind the last `\`.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        character => word.push(character),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => {
                            word.push(characters.next_if(|next| matches!(next, '"' | '\\')).unwrap_or('\\'))
                        }
                        character => word.push(character),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_as_by_a_shell_without_its_powers() {
        for (text, expected) in [
            ("", Some(&[][..])),
            ("  a \t b  ", Some(&["a", "b"])),
            ("mail -s 'it failed' x", Some(&["mail", "-s", "it failed", "x"])),
            ("a''b\"c d\"e", Some(&["abc de"])),
            (r#""a \" \\ \n" b\ c \'"#, Some(&[r#"a " \ \n"#, "b c", "'"])),
            ("'' \"\"", Some(&["", ""])),
            ("'a\\' $HOME * ; | > `x` #", Some(&["a\\", "$HOME", "*", ";", "|", ">", "`x`", "#"])),
            ("a 'b", None),
            ("a \"b", None),
            ("\"a\\", None),
            ("a\\", None),
        ] {
            let expected = expected.map(|words| words.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
