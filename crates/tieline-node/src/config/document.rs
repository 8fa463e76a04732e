//! A TOML document as written: values with their places, taken key by key; what is left over was not asked for.
//!
//! The text is parsed once, as far as it can be, and every syntax error is noted. Then each key is *taken*: it is
//! there with the right type, or it is noted as wrong, or it is not there. [`Table::finish`] notes every key that
//! nobody took. So one pass over the known keys finds all mistakes, and none hides another.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::excerpt::excerpt;
use super::mistake::Mistake;
use super::problems::Collector;

/// A value and the bytes of the text it was read from.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
    /// The key, as in `offer[1]` or `peer.address`.
    pub(crate) key: String,
}

impl<T> At<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span, key: self.key }
    }

    /// Notes `mistake` at this place.
    pub(crate) fn wrong(&self, problems: &mut Collector<'_>, mistake: Mistake) {
        problems.add(&self.span, Some(self.key.clone()), mistake);
    }
}

/// A table whose keys are taken one by one.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    /// What stands before each key: empty, `peer.`, or `files[0].`.
    prefix: String,
    /// Where the table begins, for keys that are missing.
    span: Range<usize>,
    left: BTreeMap<String, (Range<usize>, Range<usize>, DeValue<'t>)>,
    asked: Vec<&'static str>,
    /// Those that were there, right or wrong.
    had: Vec<&'static str>,
}

/// A value that may be written as one or as a list.
#[derive(Debug)]
pub(crate) enum OneOrMany {
    One(At<String>),
    Many(At<Vec<At<String>>>),
}

/// Parses `text`, noting every syntax error, and returns the table of what could be read.
pub(crate) fn parse<'t>(text: &'t str, problems: &mut Collector<'_>) -> Table<'t> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        // Only the message: the error's own display would print the row, and with it perhaps a key.
        problems.add(&error.span().unwrap_or(0..0), None, Mistake::Syntax(sentence(error.message())));
    }
    Table::new(String::new(), 0..0, document.into_inner())
}

impl<'t> Table<'t> {
    fn new(prefix: String, span: Range<usize>, table: DeTable<'t>) -> Self {
        let left = table
            .into_iter()
            .map(|(key, value)| (key.get_ref().to_string(), (key.span(), value.span(), value.into_inner())))
            .collect();
        Self { prefix, span, left, asked: Vec::new(), had: Vec::new() }
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, key: &'static str, problems: &mut Collector<'_>) -> Option<At<String>> {
        self.typed(key, "a text in quotes", problems, |value| match value {
            DeValue::String(text) => Ok(text.into_owned()),
            other => Err(other),
        })
    }

    /// Takes a text that must be there; without it, `what_to_do` is noted.
    pub(crate) fn required_text(
        &mut self,
        key: &'static str,
        what_to_do: &'static str,
        problems: &mut Collector<'_>,
    ) -> Option<At<String>> {
        if !self.left.contains_key(key) {
            problems.add(&self.span, Some(format!("{}{key}", self.prefix)), Mistake::Missing(what_to_do));
        }
        self.text(key, problems)
    }

    /// Takes `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str, problems: &mut Collector<'_>) -> Option<At<bool>> {
        self.typed(key, "true or false", problems, |value| match value {
            DeValue::Boolean(value) => Ok(value),
            other => Err(other),
        })
    }

    /// Takes a whole number from `range`, which counts `unit`s.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u16>,
        unit: &'static str,
        problems: &mut Collector<'_>,
    ) -> Option<At<u16>> {
        let written = self.typed(key, "a whole number", problems, |value| match value {
            DeValue::Integer(integer) => Ok(integer),
            other => Err(other),
        })?;
        match number_of(&written.value).filter(|number| range.contains(number)) {
            Some(number) => Some(written.map(|_| number)),
            None => {
                let found = written.value.to_string().chars().take(40).collect();
                let (min, max) = (u64::from(*range.start()), u64::from(*range.end()));
                written.wrong(problems, Mistake::OutOfRange { found, min, max, unit });
                None
            }
        }
    }

    /// Takes a list of texts of at most `entries_max`; entries of another type are noted and left out.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        entries_max: usize,
        problems: &mut Collector<'_>,
    ) -> Option<At<Vec<At<String>>>> {
        let array = self.typed(key, "a list of texts", problems, |value| match value {
            DeValue::Array(array) => Ok(array),
            other => Err(other),
        })?;
        entries(array, entries_max, problems)
    }

    /// Takes a text or a list of texts of at most `entries_max`.
    pub(crate) fn text_or_texts(
        &mut self,
        key: &'static str,
        entries_max: usize,
        problems: &mut Collector<'_>,
    ) -> Option<OneOrMany> {
        let value =
            self.typed(key, "a text in quotes, or a list of them", problems, |value| match value {
                DeValue::String(_) | DeValue::Array(_) => Ok(value),
                other => Err(other),
            })?;
        let At { value, span, key } = value;
        match value {
            DeValue::String(text) => Some(OneOrMany::One(At { value: text.into_owned(), span, key })),
            DeValue::Array(array) => {
                entries(At { value: array, span, key }, entries_max, problems).map(OneOrMany::Many)
            }
            _ => None,
        }
    }

    /// Takes a table; one that is missing is empty, and begins where this one does.
    pub(crate) fn table(
        &mut self,
        key: &'static str,
        prefix: &'static str,
        problems: &mut Collector<'_>,
    ) -> Self {
        let found = self.typed(key, "a table", problems, |value| match value {
            DeValue::Table(table) => Ok(table),
            other => Err(other),
        });
        match found {
            Some(table) => Self::new(prefix.to_owned(), table.span, table.value),
            None => Self::new(prefix.to_owned(), self.span.clone(), DeTable::new()),
        }
    }

    /// Takes a list of at most `tables_max` tables; entries of another type are noted and left out.
    pub(crate) fn tables(
        &mut self,
        key: &'static str,
        tables_max: usize,
        problems: &mut Collector<'_>,
    ) -> Vec<Self> {
        let array = self.typed(key, "a list of tables", problems, |value| match value {
            DeValue::Array(array) => Ok(array),
            other => Err(other),
        });
        let Some(array) = array else { return Vec::new() };
        let found = array.value.len();
        if found > tables_max {
            array.wrong(problems, Mistake::TooMany { found, max: tables_max });
            return Vec::new();
        }
        let mut tables = Vec::with_capacity(found);
        for (index, entry) in array.value.into_iter().enumerate() {
            let place = At { value: (), span: entry.span(), key: format!("{}[{index}]", array.key) };
            match entry.into_inner() {
                DeValue::Table(table) => tables.push(Self::new(format!("{}.", place.key), place.span, table)),
                other => {
                    place.wrong(problems, Mistake::Type { expected: "a table", found: type_name(&other) });
                }
            }
        }
        tables
    }

    /// Whether a key that was asked for is there, right or wrong.
    pub(crate) fn had(&self, key: &str) -> bool {
        self.had.contains(&key)
    }

    /// Notes `mistake` at the beginning of this table.
    pub(crate) fn wrong(&self, problems: &mut Collector<'_>, mistake: Mistake) {
        problems.add(&self.span, Some(self.prefix.trim_end_matches('.').to_owned()), mistake);
    }

    /// Notes every key that nobody asked for, by its name.
    pub(crate) fn finish(self, problems: &mut Collector<'_>) {
        for (key, (span, ..)) in &self.left {
            let shown: String = excerpt(key).chars().flat_map(char::escape_debug).collect();
            problems.add(span, Some(format!("{}{shown}", self.prefix)), self.unknown(key));
        }
    }

    /// Notes every key that nobody asked for, without its name: where quotes are missing, it is a value.
    pub(crate) fn finish_secret(self, problems: &mut Collector<'_>) {
        for (key, (span, ..)) in &self.left {
            problems.add(span, None, self.unknown(key));
        }
    }

    fn unknown(&self, key: &str) -> Mistake {
        Mistake::UnknownKey { meant: super::suggest::nearest(key, &self.asked), known: self.asked.join(", ") }
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        problems: &mut Collector<'_>,
        accept: impl FnOnce(DeValue<'t>) -> Result<T, DeValue<'t>>,
    ) -> Option<At<T>> {
        self.asked.push(key);
        let (_, span, value) = self.left.remove(key)?;
        self.had.push(key);
        let place = At { value: (), span, key: format!("{}{key}", self.prefix) };
        match accept(value) {
            Ok(value) => Some(place.map(|()| value)),
            Err(other) => {
                place.wrong(problems, Mistake::Type { expected, found: type_name(&other) });
                None
            }
        }
    }
}

fn entries(
    array: At<DeArray<'_>>,
    entries_max: usize,
    problems: &mut Collector<'_>,
) -> Option<At<Vec<At<String>>>> {
    let found = array.value.len();
    if found > entries_max {
        array.wrong(problems, Mistake::TooMany { found, max: entries_max });
        return None;
    }
    let key = array.key.clone();
    Some(array.map(|array| {
        let mut texts = Vec::with_capacity(found);
        for (index, entry) in array.into_iter().enumerate() {
            let place = At { value: (), span: entry.span(), key: format!("{key}[{index}]") };
            match entry.into_inner() {
                DeValue::String(text) => texts.push(place.map(|()| text.into_owned())),
                other => {
                    place.wrong(
                        problems,
                        Mistake::Type { expected: "a text in quotes", found: type_name(&other) },
                    );
                }
            }
        }
        texts
    }))
}

fn number_of(integer: &DeInteger<'_>) -> Option<u16> {
    u16::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The parser speaks in rows; a report has one row a mistake.
fn sentence(message: &str) -> String {
    let rows: Vec<&str> = message.lines().map(str::trim).filter(|row| !row.is_empty()).collect();
    format!("is not TOML: {}", rows.join("; "))
}
