//! Names that may be created below the inbox.
//!
//! A [`RelativePath`] is checked once and cannot afterwards hold anything that leads out of a folder, hides in a log or
//! touches the receiver's own files. Both ends apply the same rules: the sender so that it can say beforehand what will
//! not travel, the receiver because it trusts nobody. Names are octets, as Linux has them; only for display are they text.

use std::fmt;

/// Octets of one component, as every common file system has it.
pub const COMPONENT_LEN_MAX: usize = 255;
/// Octets of a whole path: `PATH_MAX` without its NUL.
pub const PATH_LEN_MAX: usize = 4095;
/// Components of a path: bounds the walk at both ends.
pub const DEPTH_MAX: usize = 256;
/// Where the receiver keeps what is not whole yet; no sender can name it.
pub const PARTIAL_FOLDER: &str = ".tieline-partial";
/// The most files that may stand beside each other under numbers of one name.
pub const COPIES_MAX: u32 = 99;
/// A longer extension is taken for a part of the name, so that a number always fits.
const EXTENSION_LEN_MAX: usize = 32;

/// Why a name is refused. The discriminants are the codes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u64)]
pub enum NameFault {
    /// No octet at all.
    #[error("the name is empty")]
    Empty = 1,
    /// Two slashes in a row, or one at the end.
    #[error("the path has an empty component")]
    EmptyComponent = 2,
    /// It starts at the root of the file system.
    #[error("the path is absolute")]
    Absolute = 3,
    /// A component that means another folder.
    #[error("the path has a component `.` or `..`")]
    Dots = 4,
    /// An octet below 0x20 or 0x7f, NUL and newline among them.
    #[error("the name has a control character; rename it")]
    Control = 5,
    /// A component longer than [`COMPONENT_LEN_MAX`].
    #[error("a name in the path is longer than {COMPONENT_LEN_MAX} octets; shorten it")]
    ComponentTooLong = 6,
    /// Longer than [`PATH_LEN_MAX`].
    #[error("the path is longer than {PATH_LEN_MAX} octets; shorten it")]
    PathTooLong = 7,
    /// More components than [`DEPTH_MAX`].
    #[error("the path is more than {DEPTH_MAX} folders deep")]
    TooDeep = 8,
    /// [`PARTIAL_FOLDER`], in any spelling.
    #[error("`{PARTIAL_FOLDER}` is reserved for unfinished transfers; rename it")]
    Reserved = 9,
}

impl NameFault {
    const ALL: [Self; 9] = [
        Self::Empty,
        Self::EmptyComponent,
        Self::Absolute,
        Self::Dots,
        Self::Control,
        Self::ComponentTooLong,
        Self::PathTooLong,
        Self::TooDeep,
        Self::Reserved,
    ];

    /// The number of this fault on the wire.
    #[must_use]
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The fault with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }
}

/// A path below a folder: one to [`DEPTH_MAX`] harmless components, joined by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Box<[u8]>);

impl RelativePath {
    /// Checks `path`.
    ///
    /// # Errors
    ///
    /// The first [`NameFault`] found, from the left.
    pub fn parse(path: &[u8]) -> Result<Self, NameFault> {
        match path {
            [] => return Err(NameFault::Empty),
            [b'/', ..] => return Err(NameFault::Absolute),
            _ if path.len() > PATH_LEN_MAX => return Err(NameFault::PathTooLong),
            _ => {}
        }
        for (depth, component) in path.split(|&octet| octet == b'/').enumerate() {
            if depth == DEPTH_MAX {
                return Err(NameFault::TooDeep);
            }
            check_component(component)?;
        }
        Ok(Self(path.into()))
    }

    /// This path with another below it.
    ///
    /// # Errors
    ///
    /// `PathTooLong` or `TooDeep`.
    pub fn join(&self, below: &RelativePath) -> Result<Self, NameFault> {
        Self::parse(&[self.as_bytes(), b"/", below.as_bytes()].concat())
    }

    /// This path with one more name below it.
    ///
    /// # Errors
    ///
    /// Any fault of `name`, which may not hold a slash, or of the path that results.
    pub fn child(&self, name: &[u8]) -> Result<Self, NameFault> {
        if name.contains(&b'/') {
            return Err(NameFault::Absolute);
        }
        Self::parse(&[self.as_bytes(), b"/", name].concat())
    }

    /// The octets, components joined by `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its components from the top; at least one.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&octet| octet == b'/')
    }

    /// How many components it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The folder that holds it, none at the top, and its own name.
    #[must_use]
    pub fn split_last(&self) -> (Option<Self>, &[u8]) {
        match self.0.iter().rposition(|&octet| octet == b'/') {
            Some(slash) => (Some(Self(self.0[..slash].into())), &self.0[slash + 1..]),
            None => (None, &self.0),
        }
    }

    /// The path under which copy number `copy` of this file is kept; the first copy has the path itself.
    #[must_use]
    pub fn copy(&self, copy: u32) -> Self {
        let (folder, name) = self.split_last();
        let name = copy_name(name, copy);
        match folder {
            Some(folder) => Self([folder.as_bytes(), b"/", &name].concat().into()),
            None => Self(name.into()),
        }
    }
}

/// The name that copy number `copy` of `name` gets: `name (2).ext`, both ends the same.
///
/// The extension is what follows the last dot, unless that dot comes first or the extension is longer than 32 octets. A stem
/// that would make the name longer than [`COMPONENT_LEN_MAX`] is cut, at a character if it is UTF-8.
#[must_use]
pub fn copy_name(name: &[u8], copy: u32) -> Vec<u8> {
    if copy <= 1 {
        return name.to_vec();
    }
    let dot = name.iter().rposition(|&octet| octet == b'.');
    let (stem, extension) = match dot {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_LEN_MAX => name.split_at(dot),
        _ => (name, &[][..]),
    };
    let number = format!(" ({copy})");
    let room = COMPONENT_LEN_MAX - number.len() - extension.len();
    [cut(stem, room), number.as_bytes(), extension].concat()
}

/// Octets shown to people: control, bidirectional and other invisible characters escaped, invalid UTF-8 as `\xNN`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_unshowable(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

fn check_component(component: &[u8]) -> Result<(), NameFault> {
    match component {
        [] => Err(NameFault::EmptyComponent),
        b"." | b".." => Err(NameFault::Dots),
        _ if component.len() > COMPONENT_LEN_MAX => Err(NameFault::ComponentTooLong),
        _ if component.iter().any(u8::is_ascii_control) => Err(NameFault::Control),
        // Some file systems fold case.
        _ if component.eq_ignore_ascii_case(PARTIAL_FOLDER.as_bytes()) => Err(NameFault::Reserved),
        _ => Ok(()),
    }
}

fn cut(stem: &[u8], len_max: usize) -> &[u8] {
    if stem.len() <= len_max {
        return stem;
    }
    match std::str::from_utf8(stem) {
        Ok(text) => &stem[..text.floor_char_boundary(len_max)],
        Err(_) => &stem[..len_max],
    }
}

/// Characters that change how a terminal or a log shows what follows them (CWE-117 and "trojan source").
fn is_unshowable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_paths_are_accepted_as_octets() {
        let long = [b'x'; COMPONENT_LEN_MAX];
        let deep = vec!["d"; DEPTH_MAX].join("/");
        let full = vec!["x".repeat(255); 16].join("/");
        assert_eq!(full.len(), PATH_LEN_MAX);
        for path in [
            &b"a"[..],
            b"a/b",
            b"...",
            b"..a",
            b".hidden",
            b"a b\xff\xfe",
            &long,
            deep.as_bytes(),
            full.as_bytes(),
        ] {
            assert_eq!(RelativePath::parse(path).unwrap().as_bytes(), path);
        }
    }

    #[test]
    fn case_23_every_harmful_path_is_refused_with_its_reason() {
        let deep = vec!["d"; DEPTH_MAX + 1].join("/");
        let cases: [(&[u8], NameFault); 18] = [
            (b"", NameFault::Empty),
            (b"/etc/passwd", NameFault::Absolute),
            (b"/", NameFault::Absolute),
            (b"a//b", NameFault::EmptyComponent),
            (b"a/", NameFault::EmptyComponent),
            (b"..", NameFault::Dots),
            (b"../x", NameFault::Dots),
            (b"a/../../x", NameFault::Dots),
            (b"a/.", NameFault::Dots),
            (b"./a", NameFault::Dots),
            (b"a\0b", NameFault::Control),
            (b"a\nb", NameFault::Control),
            (b"\x1b[2J", NameFault::Control),
            (b"a\x7f", NameFault::Control),
            (&[b'x'; COMPONENT_LEN_MAX + 1], NameFault::ComponentTooLong),
            (&[b'x'; PATH_LEN_MAX + 1], NameFault::PathTooLong),
            (deep.as_bytes(), NameFault::TooDeep),
            (b"a/.Tieline-PARTIAL/1", NameFault::Reserved),
        ];
        for (path, fault) in cases {
            assert_eq!(RelativePath::parse(path), Err(fault), "{}", Escaped(path));
        }
    }

    #[test]
    fn faults_keep_their_codes() {
        for (fault, code) in NameFault::ALL.into_iter().zip(1..) {
            assert_eq!(fault.code(), code);
            assert_eq!(NameFault::from_code(code), Some(fault));
        }
        assert_eq!(NameFault::from_code(0), None);
        assert_eq!(NameFault::from_code(10), None);
    }

    #[test]
    fn copies_are_numbered_before_the_extension() {
        for (name, second) in [
            ("photo.jpg", "photo (2).jpg"),
            ("README", "README (2)"),
            (".bashrc", ".bashrc (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
            ("dot.", "dot (2)."),
        ] {
            assert_eq!(copy_name(name.as_bytes(), 2), second.as_bytes());
            assert_eq!(copy_name(name.as_bytes(), 1), name.as_bytes());
        }
        assert_eq!(RelativePath::parse(b"a/b.c").unwrap().copy(17).as_bytes(), b"a/b (17).c");
    }

    #[test]
    fn a_numbered_name_is_never_too_long_nor_cut_inside_a_character() {
        let umlauts = "ü".repeat(127);
        for name in [
            &[b'x'; 255][..],
            umlauts.as_bytes(),
            &[0xff; 255],
            [&[b'x'; 250][..], b".jpeg"].concat().as_slice(),
        ] {
            let copy = copy_name(name, COPIES_MAX);
            assert!(RelativePath::parse(&copy).is_ok());
            assert_eq!(std::str::from_utf8(name).is_ok(), std::str::from_utf8(&copy).is_ok());
        }
        assert!(copy_name(&[&[b'x'; 250][..], b".jpeg"].concat(), 2).ends_with(b"x (2).jpeg"));
    }

    #[test]
    fn what_people_see_cannot_move_the_cursor_or_turn_text_round() {
        let shown = Escaped("ä\u{202e}gpj\u{1b}[m\u{85}".as_bytes()).to_string();
        assert_eq!(shown, "ä\\u{202e}gpj\\u{1b}[m\\u{85}");
        assert_eq!(Escaped(b"a\xff\xe2\x82b").to_string(), "a\\xff\\xe2\\x82b");
    }

    #[test]
    fn a_path_splits_into_folder_and_name() {
        let path = RelativePath::parse(b"a/b/c").unwrap();
        let (folder, name) = path.split_last();
        assert_eq!((folder.unwrap().as_bytes(), name), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(RelativePath::parse(b"c").unwrap().split_last(), (None, &b"c"[..]));
        assert_eq!(path.child(b"d").unwrap().as_bytes(), b"a/b/c/d");
        assert!(path.child(b"d/e").is_err());
        assert!(path.child(b"..").is_err());
        assert_eq!(path.join(&path).unwrap().depth(), 6);
    }
}
