//! Where an end keeps its files: the folders, and the names of everything that belongs to one line.
//!
//! No other module joins these paths, so that this page answers "which file is that" for the whole program.
//!
//! | file | whose | what |
//! |---|---|---|
//! | `CONFIG/NAME.toml` | the operator's | the configuration of one end; never written after it was made |
//! | `CONFIG/NAME.key` | the machine's, 0600 | keys and a pending invitation |
//! | `RUNTIME/NAME.sock` | the running process's | the local API |
//! | `RUNTIME/NAME.lock` | the running process's | held while the line is up |
//! | `RUNTIME/NAME.state` | the machine's | what must survive a crash: the far end's address, the last timestamp sent |
//! | `RUNTIME/NAME.changes` | the machine's | what an internet connection that is shared has changed on the system, until it is restored |
//! | `DATA/NAME/outbox` | the operator's | what is put here goes to the far end's inbox |
//! | `DATA/NAME/journal` | the machine's, 0600 | what was sent and received, and how far (SQLite; beside it `journal-wal`) |
//! | the inbox | the operator's | where the far end's files arrive |
//!
//! | folder | chosen by | else, as root | else |
//! |---|---|---|---|
//! | CONFIG | `--config-dir`, `TIELINE_CONFIG_DIR` | `/etc/tieline` | `$XDG_CONFIG_HOME/tieline`, `~/.config/tieline` |
//! | RUNTIME | `--runtime-dir`, `TIELINE_RUNTIME_DIR` | `/run/tieline` | `$XDG_RUNTIME_DIR/tieline`, `$TMPDIR/tieline-UID` |
//! | DATA | CONFIG, if that was chosen | `/var/lib/tieline` | `$XDG_DATA_HOME/tieline`, `~/.local/share/tieline` |
//! | the inbox of NAME | `inbox = …` in `NAME.toml` | `DATA/NAME/inbox` | `DATA/NAME/inbox` |
//!
//! Whoever chooses CONFIG also moves DATA there: two ends on one machine, each with a
//! folder of its own, must not share an inbox. As the XDG Base Directory Specification 0.8 demands, a relative path in
//! an XDG variable is ignored.

mod line_name;
mod private_folder;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use line_name::{LineName, LineNameError};

/// The longest path of a unix socket: `sun_path` has 108 octets and the last one is NUL (`unix(7)`).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Of the folder of a line's data: the group may read what arrived.
const DATA_MODE: u32 = 0o750;

/// Of the outbox: the group may put files into it.
const OUTBOX_MODE: u32 = 0o770;

/// Lines looked at in one configuration folder; more than anybody has, few enough to list in one breath.
pub const LINES_MAX: usize = 1024;

/// What the operator said about folders; `None` where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacesChoice {
    /// `--config-dir` or `TIELINE_CONFIG_DIR`.
    pub config_dir: Option<PathBuf>,
    /// `--runtime-dir` or `TIELINE_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
}

/// What the system says about whoever runs the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The effective user; 0 is root.
    pub user: u32,
    /// `$HOME`.
    pub home: Option<OsString>,
    /// `$XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<OsString>,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// The folder for temporary files.
    pub temp_dir: PathBuf,
}

/// The folders of this end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    config_dir: PathBuf,
    runtime_dir: PathBuf,
    data_dir: PathBuf,
    runtime_is_fallback: bool,
}

/// Every path that belongs to one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFiles {
    /// The configuration, written by the operator.
    pub config: PathBuf,
    /// The keys, kept by the machine, readable by its owner only.
    pub key: PathBuf,
    /// The unix socket of the local API.
    pub socket: PathBuf,
    /// Locked by the process that runs the line.
    pub lock: PathBuf,
    /// What must survive a crash of that process (JSON).
    pub state: PathBuf,
    /// What was changed on the system and does not go with the process (JSON).
    pub changes: PathBuf,
    /// What the machine keeps of the line for ever.
    pub data: PathBuf,
    /// What is put here goes to the far end's inbox.
    pub outbox: PathBuf,
    /// What was sent and received, in that folder.
    pub journal: PathBuf,
    /// Where files arrive, unless the configuration names another folder.
    pub inbox: PathBuf,
}

/// Why there is no folder to work in.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// Neither the operator nor the system names a home.
    #[error("no folder for {what} is known: set {variable}, or HOME")]
    NoHome {
        /// What would be kept there.
        what: &'static str,
        /// The variable that would settle it.
        variable: &'static str,
    },
    /// The sockets would have names that the system cannot hold.
    #[error(
        "the runtime folder {} is too long: {bytes} bytes, and at most {max} leave room for a socket; choose another with --runtime-dir", .folder.display()
    )]
    RuntimeTooLong {
        /// The folder.
        folder: PathBuf,
        /// Its length.
        bytes: usize,
        /// The longest that works.
        max: usize,
    },
    /// A folder could not be made, read or checked.
    #[error("cannot {verb} the folder {}", .folder.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that is no folder stands where the folder must be.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The private folder below the temporary one was made by somebody else.
    #[error(
        "{} belongs to user {owner} and not to you; set XDG_RUNTIME_DIR, or choose a folder with --runtime-dir", .folder.display()
    )]
    NotOwned {
        /// The folder.
        folder: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// The configuration folder holds more lines than one machine has.
    #[error("{} holds more than {LINES_MAX} lines", .0.display())]
    TooManyLines(PathBuf),
}

impl Surroundings {
    /// Asks the system.
    #[must_use]
    pub fn from_system() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            home: std::env::var_os("HOME"),
            xdg_config_home: std::env::var_os("XDG_CONFIG_HOME"),
            xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            temp_dir: std::env::temp_dir(),
        }
    }

    fn is_root(&self) -> bool {
        self.user == 0
    }
}

impl Places {
    /// Decides the folders; touches none of them.
    ///
    /// # Errors
    ///
    /// [`PlacesError::NoHome`] where nobody says where to keep things, [`PlacesError::RuntimeTooLong`] where the local
    /// API could have no socket.
    pub fn resolve(choice: &PlacesChoice, surroundings: &Surroundings) -> Result<Self, PlacesError> {
        let config_dir = match &choice.config_dir {
            Some(chosen) => chosen.clone(),
            None => default_config_dir(surroundings)?,
        };
        let data_dir = match &choice.config_dir {
            Some(chosen) => chosen.clone(),
            None => default_data_dir(surroundings)?,
        };
        let (runtime_dir, runtime_is_fallback) = match &choice.runtime_dir {
            Some(chosen) => (chosen.clone(), false),
            None => default_runtime_dir(surroundings),
        };
        let runtime_bytes = runtime_dir.as_os_str().len();
        let runtime_bytes_max = SOCKET_PATH_BYTES_MAX - "/".len() - LineName::BYTES_MAX - ".sock".len();
        if runtime_bytes > runtime_bytes_max {
            return Err(PlacesError::RuntimeTooLong {
                folder: runtime_dir,
                bytes: runtime_bytes,
                max: runtime_bytes_max,
            });
        }
        Ok(Self { config_dir, runtime_dir, data_dir, runtime_is_fallback })
    }

    /// Returns the folder of the configurations and keys.
    #[must_use]
    pub fn config_dir(&self) -> &Path {
        &self.config_dir
    }

    /// Returns the folder of sockets, locks and state.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// Returns the paths of everything that belongs to `line`; none of it need exist.
    #[must_use]
    pub fn files(&self, line: &LineName) -> LineFiles {
        let config = |ending: &str| self.config_dir.join(format!("{line}.{ending}"));
        let runtime = |ending: &str| self.runtime_dir.join(format!("{line}.{ending}"));
        let data = self.data_dir.join(line.as_str());
        LineFiles {
            config: config("toml"),
            key: config("key"),
            socket: runtime("sock"),
            lock: runtime("lock"),
            state: runtime("state"),
            changes: runtime("changes"),
            outbox: data.join("outbox"),
            journal: data.join("journal"),
            inbox: data.join("inbox"),
            data,
        }
    }

    /// Returns the lines that have a configuration, by name. A missing folder has none; a `.toml` file whose name is
    /// no line name is none.
    ///
    /// # Errors
    ///
    /// [`PlacesError::Io`] if the folder cannot be read, [`PlacesError::TooManyLines`] above [`LINES_MAX`].
    pub fn lines(&self) -> Result<Vec<LineName>, PlacesError> {
        let failed = |source| PlacesError::Io { verb: "read", folder: self.config_dir.clone(), source };
        let entries = match std::fs::read_dir(&self.config_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut lines = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".toml")) else { continue };
            let Ok(line) = stem.parse() else { continue };
            if lines.len() == LINES_MAX {
                return Err(PlacesError::TooManyLines(self.config_dir.clone()));
            }
            lines.push(line);
        }
        lines.sort();
        Ok(lines)
    }

    /// Makes the configuration folder if it is not there.
    ///
    /// # Errors
    ///
    /// [`PlacesError::Io`], [`PlacesError::NotAFolder`].
    pub fn make_config_dir(&self) -> Result<(), PlacesError> {
        private_folder::make(&self.config_dir, private_folder::PRIVATE)
    }

    /// Makes the runtime folder if it is not there. Below the temporary folder, where anybody may have made one of
    /// that name before us, it must be ours and is closed to others.
    ///
    /// # Errors
    ///
    /// [`PlacesError::Io`], [`PlacesError::NotAFolder`], [`PlacesError::NotOwned`].
    pub fn make_runtime_dir(&self) -> Result<(), PlacesError> {
        private_folder::make(&self.runtime_dir, private_folder::PRIVATE)?;
        if self.runtime_is_fallback { private_folder::claim(&self.runtime_dir) } else { Ok(()) }
    }

    /// Makes the folder of what is kept of `line`, and the outbox in it, unless they are there.
    ///
    /// # Errors
    ///
    /// [`PlacesError::Io`], [`PlacesError::NotAFolder`].
    pub fn make_data_dir(&self, line: &LineName) -> Result<(), PlacesError> {
        let files = self.files(line);
        private_folder::make(&files.data, DATA_MODE)?;
        self.make_outbox(&files.outbox)
    }

    /// Makes an outbox, unless it is there.
    ///
    /// # Errors
    ///
    /// [`PlacesError::Io`], [`PlacesError::NotAFolder`].
    pub fn make_outbox(&self, folder: &Path) -> Result<(), PlacesError> {
        private_folder::make(folder, OUTBOX_MODE)
    }
}

fn default_config_dir(surroundings: &Surroundings) -> Result<PathBuf, PlacesError> {
    if surroundings.is_root() {
        return Ok(PathBuf::from("/etc/tieline"));
    }
    below_home(&surroundings.xdg_config_home, &surroundings.home, ".config")
        .ok_or(PlacesError::NoHome { what: "configurations", variable: "TIELINE_CONFIG_DIR" })
}

fn default_data_dir(surroundings: &Surroundings) -> Result<PathBuf, PlacesError> {
    if surroundings.is_root() {
        return Ok(PathBuf::from("/var/lib/tieline"));
    }
    below_home(&surroundings.xdg_data_home, &surroundings.home, ".local/share")
        .ok_or(PlacesError::NoHome { what: "received files", variable: "XDG_DATA_HOME" })
}

fn default_runtime_dir(surroundings: &Surroundings) -> (PathBuf, bool) {
    if surroundings.is_root() {
        return (PathBuf::from("/run/tieline"), false);
    }
    match absolute(&surroundings.xdg_runtime_dir) {
        Some(folder) => (folder.join("tieline"), false),
        None => (surroundings.temp_dir.join(format!("tieline-{}", surroundings.user)), true),
    }
}

fn below_home(xdg: &Option<OsString>, home: &Option<OsString>, below: &str) -> Option<PathBuf> {
    absolute(xdg).or_else(|| Some(absolute(home)?.join(below))).map(|folder| folder.join("tieline"))
}

fn absolute(variable: &Option<OsString>) -> Option<PathBuf> {
    variable.as_ref().map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Surroundings {
        Surroundings {
            user: 1000,
            home: Some("/home/ann".into()),
            temp_dir: "/tmp".into(),
            ..Surroundings::default()
        }
    }

    fn resolve(choice: &PlacesChoice, surroundings: &Surroundings) -> Places {
        Places::resolve(choice, surroundings).expect("these places exist")
    }

    fn berlin() -> LineName {
        "berlin".parse().expect("a line name")
    }

    #[test]
    fn root_keeps_things_in_the_folders_of_the_system() {
        let files = resolve(&PlacesChoice::default(), &Surroundings::default()).files(&berlin());
        assert_eq!(
            files,
            LineFiles {
                config: "/etc/tieline/berlin.toml".into(),
                key: "/etc/tieline/berlin.key".into(),
                socket: "/run/tieline/berlin.sock".into(),
                lock: "/run/tieline/berlin.lock".into(),
                state: "/run/tieline/berlin.state".into(),
                changes: "/run/tieline/berlin.changes".into(),
                data: "/var/lib/tieline/berlin".into(),
                outbox: "/var/lib/tieline/berlin/outbox".into(),
                journal: "/var/lib/tieline/berlin/journal".into(),
                inbox: "/var/lib/tieline/berlin/inbox".into(),
            }
        );
    }

    #[test]
    fn a_user_keeps_things_in_the_xdg_folders() {
        let surroundings = Surroundings {
            xdg_config_home: Some("/c".into()),
            xdg_data_home: Some("/d".into()),
            xdg_runtime_dir: Some("/r".into()),
            ..user()
        };
        let files = resolve(&PlacesChoice::default(), &surroundings).files(&berlin());
        assert_eq!(files.config, Path::new("/c/tieline/berlin.toml"));
        assert_eq!(files.inbox, Path::new("/d/tieline/berlin/inbox"));
        assert_eq!(files.socket, Path::new("/r/tieline/berlin.sock"));
    }

    #[test]
    fn without_xdg_variables_the_home_is_used_and_a_private_folder_for_temporary_things() {
        let relative = Surroundings { xdg_config_home: Some("relative".into()), ..user() };
        let files = resolve(&PlacesChoice::default(), &relative).files(&berlin());
        assert_eq!(files.config, Path::new("/home/ann/.config/tieline/berlin.toml"));
        assert_eq!(files.inbox, Path::new("/home/ann/.local/share/tieline/berlin/inbox"));
        assert_eq!(files.lock, Path::new("/tmp/tieline-1000/berlin.lock"));
    }

    #[test]
    fn a_chosen_configuration_folder_takes_the_inbox_along() {
        let choice = PlacesChoice { config_dir: Some("/a".into()), runtime_dir: Some("/b".into()) };
        for surroundings in [Surroundings::default(), user(), Surroundings { home: None, ..user() }] {
            let files = resolve(&choice, &surroundings).files(&berlin());
            assert_eq!(files.config, Path::new("/a/berlin.toml"));
            assert_eq!(files.inbox, Path::new("/a/berlin/inbox"));
            assert_eq!(files.socket, Path::new("/b/berlin.sock"));
        }
    }

    #[test]
    fn without_a_home_the_variable_to_set_is_named() {
        let error =
            Places::resolve(&PlacesChoice::default(), &Surroundings { home: None, ..user() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no folder for configurations is known: set TIELINE_CONFIG_DIR, or HOME"
        );
    }

    #[test]
    fn a_runtime_folder_that_leaves_no_room_for_a_socket_is_refused() {
        let fits = |bytes: usize| {
            let runtime_dir = Some(PathBuf::from(format!("/{}", "r".repeat(bytes - 1))));
            Places::resolve(&PlacesChoice { runtime_dir, ..PlacesChoice::default() }, &user())
        };
        let longest =
            fits(86).expect("86 bytes fit").files(&"abcdefghijklmno".parse().expect("15 characters"));
        assert_eq!(longest.socket.as_os_str().len(), SOCKET_PATH_BYTES_MAX);
        assert!(matches!(fits(87), Err(PlacesError::RuntimeTooLong { bytes: 87, max: 86, .. })));
    }

    #[test]
    fn the_lines_of_a_folder_are_its_configurations_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["oslo.toml", "berlin.toml", "berlin.key", "Not-A-Line.toml", "notes.txt", ".toml"] {
            std::fs::write(folder.path().join(file), "").expect("a file");
        }
        let choice = PlacesChoice { config_dir: Some(folder.path().into()), runtime_dir: None };
        let lines = resolve(&choice, &user()).lines().expect("readable");
        assert_eq!(lines, ["berlin".parse().expect("a name"), "oslo".parse().expect("a name")]);
    }

    #[test]
    fn a_missing_folder_has_no_lines() {
        let choice = PlacesChoice { config_dir: Some("/does/not/exist".into()), runtime_dir: None };
        assert_eq!(resolve(&choice, &user()).lines().expect("no lines"), []);
    }

    #[test]
    fn the_fallback_runtime_folder_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("a folder");
        let surroundings = Surroundings {
            user: rustix::process::geteuid().as_raw().max(1),
            temp_dir: temp.path().into(),
            ..user()
        };
        let places = resolve(&PlacesChoice::default(), &surroundings);
        std::fs::create_dir(places.runtime_dir()).expect("made before us, open to all");
        std::fs::set_permissions(places.runtime_dir(), PermissionsExt::from_mode(0o777)).expect("ours");
        places.make_runtime_dir().expect("ours");
        let mode = std::fs::metadata(places.runtime_dir()).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
