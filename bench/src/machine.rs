//! The machine that measures.

use std::fs;

/// The kernel counts processor time in these (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that all processors together have worked since the machine was started; what a host took away is not counted.
///
/// # Errors
///
/// What the kernel did not say.
pub fn busy_seconds() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
    busy_ticks(&text)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or("/proc/stat is not understood".into())
}

/// User, system, interrupts and soft interrupts of the first row: without idle, waiting and stolen time, without that of guests, which
/// is part of user time, and without that of programs of low priority, which only take what is left and of which we start none.
fn busy_ticks(text: &str) -> Option<u64> {
    let row = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = row.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    [0, 2, 5, 6].into_iter().map(|place| fields.get(place)).sum()
}

/// Processor, memory, kernel and load.
#[must_use]
pub fn description() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (information, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let row = text.lines().find(|row| row.starts_with(name));
        row.and_then(|row| row.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let processors = information.lines().filter(|row| row.starts_with("processor")).count();
    format!(
        "{processors} x {}, {} of memory, Linux {}, load {}",
        value(&information, "model name"),
        value(&memory, "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        load()
    )
}

/// Processes that wanted to run in the last minute, fifteen and so on, as the kernel writes it.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_stolen_guest_and_low_priority_time_are_no_work() {
        assert_eq!(
            busy_ticks("cpu  1 20 300 4000 50000 6 70 800 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"),
            Some(377)
        );
        assert_eq!(busy_ticks("intr 1\n"), None);
    }
}
