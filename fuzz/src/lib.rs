//! What several fuzz targets share.

pub mod pair;

use tieline_node::config::Defaults;

/// The defaults of a machine that nobody has.
pub fn defaults() -> Defaults {
    Defaults { name: "host".into(), inbox: "/inbox".into() }
}

/// Asserts that nothing secret in `written` is in `shown`: no key out of a row that has the name of one of `secrets` anywhere, unless it
/// also stands where it is no secret.
///
/// # Panics
///
/// If one is.
pub fn assert_no_secret_is_shown(written: &str, secrets: &[&str], shown: &str) {
    let is_secret = |row: &&str| {
        let row = row.to_ascii_lowercase();
        secrets.iter().any(|secret| row.contains(&secret.to_ascii_lowercase()))
    };
    let (secret_rows, others): (Vec<&str>, Vec<&str>) = written.lines().partition(is_secret);
    for value in secret_rows.iter().flat_map(|row| runs_of_base64(row)) {
        let is_only_secret = !others.iter().any(|row| row.contains(value));
        assert!(!is_only_secret || !shown.contains(value), "{value} is shown:\n{shown}");
    }
}

fn runs_of_base64(row: &str) -> impl Iterator<Item = &str> {
    row.split(|character: char| !(character.is_ascii_alphanumeric() || "+/".contains(character)))
        .filter(|run| run.len() >= KEY_TEXT_LEN)
}

/// 32 octets in base64, without the padding.
const KEY_TEXT_LEN: usize = 43;
