//! What an error shows of a wrong text: enough to find it, and never a key.

/// Characters that are shown.
const CHARACTERS_MAX: usize = 60;
/// A run of so many characters of base64 may be a good part of a key; no word, name or address has one.
const BASE64_RUN_MAX: usize = 31;

/// The beginning of `text`, with every run of base64 that may belong to a key left out. Where a row's end or a quote is missing, a
/// value holds what comes after it, and that may be a secret.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run_len = rest.find(|character| !is_base64(character)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(if run_len == 0 { first.len_utf8() } else { run_len });
        shown.push_str(if run_len > BASE64_RUN_MAX { "…" } else { part });
        rest = after;
    }
    match shown.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_shown_whole_and_long_ones_cut() {
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt("büro.example:51820"), "büro.example:51820");
        assert_eq!(excerpt(&"ä".repeat(60)), "ä".repeat(60));
        assert_eq!(excerpt(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }

    #[test]
    fn what_may_be_a_key_is_left_out() {
        let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        assert_eq!(excerpt(&format!("5FresharedKey = {key}")), "5FresharedKey = …=");
        assert_eq!(excerpt(&format!("1420{key}")), "…=");
        assert_eq!(excerpt(&key[..32]), "…");
    }
}
