//! Calls by SIPp: some that talk all the time, and some that are only set up and ended.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tieline_bench::offices::Offices;
use tieline_bench::process::Daemon;

/// Where those that answer are, in office A, and those that call, in B: they talk, or are only set up.
const ANSWERS: u16 = 5070;
const TALKS: u16 = 5080;
const SETS_UP: u16 = 5090;
const MEDIA: u16 = 32_000;
/// Calls that are set up each second, and how long they last.
const EACH_SECOND: u32 = 2;
const LAST_MS: u32 = 500;

/// What became of calls that were set up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SetUp {
    pub(crate) made: u32,
    pub(crate) failed: u32,
    /// From the invitation to the answer, on average.
    pub(crate) ms: f64,
}

/// Has so many calls talk until what is returned is dropped: office A sends back what office B says.
pub(super) fn start_calls(offices: &Offices, calls: u32, alaw: &Path) -> Result<[Daemon; 2], String> {
    let (a, b) = (&offices.a, &offices.b);
    let answers = a.command("sipp").args(["-sn", "uas", "-rtp_echo", "-nostdin", "-i"]);
    let answers = answers.arg(a.address.to_string()).args(["-p", &ANSWERS.to_string()]);
    let answers = answers.args(["-mi", &a.address.to_string(), "-mp", &MEDIA.to_string()]);
    let answering = Daemon::start(answers, a.folder.join("sipp-answers.log"))?;
    a.wait_until_bound("udp", ANSWERS)?;
    let scenario = include_str!("talk.xml").replace("@SPEECH@", &alaw.display().to_string());
    let scenario = b.write("talk.xml", &scenario)?;
    let talks = b.command("sipp").arg("-sf").arg(scenario).args(["-s", "sipp", "-nostdin", "-i"]);
    let talks = talks.arg(b.address.to_string()).args(["-p", &TALKS.to_string()]);
    let talks = talks.args(["-mi", &b.address.to_string(), "-mp", &MEDIA.to_string()]);
    let calls = calls.to_string();
    let talks = talks.args(["-m", &calls, "-l", &calls, "-r", &calls]).arg(format!("{}:5060", a.address));
    let talking = Daemon::start(talks, b.folder.join("sipp-talks.log"))?;
    Ok([answering, talking])
}

/// Sets up calls for so long.
///
/// # Errors
///
/// If SIPp does not say what became of them.
pub(crate) fn set_up_calls(offices: &Offices, time: Duration) -> Result<SetUp, String> {
    let (a, b) = (&offices.a, &offices.b);
    let figures = b.folder.join("sipp-calls.csv");
    let calls = time.as_secs() as u32 * EACH_SECOND;
    let command = b.command("sipp").args(["-sn", "uac", "-s", "sipp", "-nostdin", "-i"]);
    let command = command.arg(b.address.to_string()).args(["-p", &SETS_UP.to_string()]);
    let command = command.args(["-m", &calls.to_string(), "-r", &EACH_SECOND.to_string()]);
    let command = command.args(["-d", &LAST_MS.to_string(), "-timeout", &(time.as_secs() + 10).to_string()]);
    let command = command.args(["-trace_stat", "-stf"]).arg(&figures).arg(format!("{}:5060", a.address));
    // How it ends says whether all calls went well, which the file says as well.
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().map_err(|error| format!("sipp: {error}"))?;
    let text = fs::read_to_string(&figures).map_err(|error| format!("{}: {error}", figures.display()))?;
    parse(&text).ok_or_else(|| format!("SIPp does not say what became of calls: {text}"))
}

/// The last row of the file has the sums.
fn parse(text: &str) -> Option<SetUp> {
    let mut rows = text.lines().map(|row| row.split(';').collect::<Vec<_>>());
    let names = rows.next()?;
    let last = rows.rfind(|row| row.len() >= names.len() - 1)?;
    let value = |name: &str| last.get(names.iter().position(|known| *known == name)?).copied();
    let count = |name: &str| value(name)?.trim().parse::<u32>().ok();
    let (good, failed) = (count("SuccessfulCall(C)")?, count("FailedCall(C)")?);
    Some(SetUp { made: good + failed, failed, ms: milliseconds(value("ResponseTime1(C)")?)? })
}

/// Hours, minutes, seconds and microseconds, with colons between them.
fn milliseconds(text: &str) -> Option<f64> {
    let parts: Vec<f64> = text.split(':').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds, micros] = parts.try_into().ok()?;
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1000.0 + micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_figures_counts() {
        let text = "StartTime;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);ResponseTime1(C);\n\
            now;1;1;0;00:00:00:020000;\nlater;1;29;1;00:00:01:250500;\n";
        assert_eq!(parse(text), Some(SetUp { made: 30, failed: 1, ms: 1250.5 }));
        assert_eq!(parse("StartTime;\n"), None);
    }
}
