//! A phone: baresip without a screen, with a file in place of a microphone, that writes down what it hears.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use tieline_bench::offices::Office;
use tieline_bench::process::Daemon;

use super::filled;

/// How long a call may take until sound is written down.
const TALKS_WITHIN: Duration = Duration::from_secs(10);
/// How long one may take to start and register.
const REGISTERS_WITHIN: Duration = Duration::from_secs(10);
/// What it says then.
const REGISTERED: &str = "[1 binding]";
/// Where it listens; another one of the office has another port.
const PORT: u16 = 5062;

pub(super) struct Phone {
    daemon: Daemon,
    folder: PathBuf,
}

impl Phone {
    /// Starts one in `office` that registers with the telephone system in `system` under this name, and calls somebody if it is told to;
    /// without, it answers.
    pub(super) fn start(
        office: &Office,
        system: &Office,
        name: &str,
        speech: &std::path::Path,
        calls: Option<&str>,
    ) -> Result<Self, String> {
        let folder = office.folder.join(format!("phone-{name}"));
        let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(fault)?;
        let values = [("@PORT@", PORT.to_string()), ("@SPEECH@", speech.display().to_string())];
        let configuration = filled(include_str!("phone.cfg"), office, &values);
        fs::write(folder.join("config"), configuration).map_err(fault)?;
        let account = format!(
            "<sip:{name}@{};transport=udp>;auth_pass=none;regint=600;answermode=auto;audio_codecs=PCMA\n",
            system.address
        );
        fs::write(folder.join("accounts"), account).map_err(fault)?;
        let command = office.command("baresip").arg("-f").arg(&folder);
        let dial = calls.map(|number| format!("/dial sip:{number}@{}", system.address));
        let command = dial.into_iter().fold(command, |command, dial| command.args(["-e", &dial]));
        let daemon = Daemon::start(command, folder.join("log"))?;
        Ok(Self { daemon, folder: office.folder.clone() })
    }

    /// Waits until the telephone system knows where it is.
    pub(super) fn wait_until_registered(&self) -> Result<(), String> {
        let deadline = Instant::now() + REGISTERS_WITHIN;
        while !self.log().contains(REGISTERED) {
            if Instant::now() > deadline {
                return Err(format!("a phone does not register\n{}", self.log()));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The file in which is what it hears, and when that began.
    pub(super) fn recording(&self) -> Result<(PathBuf, Instant), String> {
        let deadline = Instant::now() + TALKS_WITHIN;
        while Instant::now() < deadline {
            let entries = fs::read_dir(&self.folder).map_err(|error| error.to_string())?;
            let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let found = files.into_iter().find(|file| file.to_string_lossy().ends_with("-dec.wav"));
            if let Some(file) = found {
                let made = fs::metadata(&file).and_then(|metadata| metadata.created());
                let age = made.ok().and_then(|made| SystemTime::now().duration_since(made).ok());
                let begin = Instant::now().checked_sub(age.unwrap_or_default());
                return Ok((file, begin.ok_or("a recording is older than the machine")?));
            }
            sleep(Duration::from_millis(50));
        }
        Err("a phone hears nothing".into())
    }

    pub(super) fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends it as a person does, so that its recording is whole.
    pub(super) fn hang_up(self) {
        // Told to end, baresip closes its files; killed, it does not.
        self.daemon.terminate(Duration::from_secs(3));
    }
}
