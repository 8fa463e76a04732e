//! What several fuzz targets share.

pub mod pair;

use tieline_node::config::Defaults;

/// The defaults of a machine that nobody has.
pub fn defaults() -> Defaults {
    Defaults { name: "host".into(), inbox: "/inbox".into() }
}

/// Asserts that nothing secret in `written` is in `shown`: the value of a row that is named as one of `secrets`, if it is a key, unless it
/// also stands where it is no secret.
///
/// # Panics
///
/// If one is.
pub fn assert_no_secret_is_shown(written: &str, secrets: &[&str], shown: &str) {
    let value_of = |row: &str| {
        let (name, value) = row.split_once('=')?;
        let is_secret = secrets.iter().any(|secret| secret.eq_ignore_ascii_case(name.trim()));
        let value = value.trim().trim_matches('"');
        (is_secret && value.len() == KEY_TEXT_LEN && !value.contains(char::is_whitespace))
            .then(|| value.to_owned())
    };
    let values: Vec<String> = written.lines().filter_map(value_of).collect();
    for value in &values {
        let is_only_secret =
            written.matches(value).count() == values.iter().filter(|other| *other == value).count();
        assert!(!is_only_secret || !shown.contains(value), "{value} is shown:\n{shown}");
    }
}

/// 32 octets in base64.
const KEY_TEXT_LEN: usize = 44;
