//! How much of the line files may take, as configured and by the time of day.

use std::time::{Duration, SystemTime};

use tieline_io::local_time::LocalTime;
use tieline_transfer::schedule::{self, Limit, TimeOfDay, Weekday};
use tokio::time::sleep;

use super::Files;
use crate::config::TransferConfig;
use crate::config::files::Policy;
use crate::streams::congestion::{self, Limits, Rate};

/// After how long it is looked again at least: the clock on the wall may be put forward or back.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Keeps `limits`, and whether the outboxes send at all, at what is configured; ends if that never changes.
pub(super) async fn follow(config: TransferConfig, limits: Limits, files: Files) {
    loop {
        let (limit, next) = now_and_next(&config);
        let (is_off, rate) = apply(limit, config.rate);
        tracing::debug!(?limit, ?rate, "how much of the line files may take");
        set(&limits, config.policy, rate);
        files.set_off(is_off);
        match next {
            Some(next) => sleep(next.min(LOOK_EVERY)).await,
            None => return,
        }
    }
}

/// Sets the policy and what it may take. The rate of `fixed` is what is to arrive, and no cap over it: what is lost is made up for by
/// sending more.
fn set(limits: &Limits, policy: Policy, rate: Option<Rate>) {
    let (policy, cap) = match (policy, rate) {
        (Policy::Fixed, Some(rate)) => (congestion::Policy::Fixed(rate), None),
        // Without a rate `fixed` is refused when the configuration is read.
        (Policy::Fixed | Policy::Fair, cap) => (congestion::Policy::Fair, cap),
        (Policy::Trickle, cap) => (congestion::Policy::Trickle, cap),
    };
    limits.set_policy(policy);
    limits.set_cap(cap);
}

/// The limit at this moment, and how long it lasts; none is for ever.
fn now_and_next(config: &TransferConfig) -> (Limit, Option<Duration>) {
    let Some(schedule) = &config.schedule else { return (Limit::Full, None) };
    let Some(LocalTime { weekday, minute, second, .. }) = LocalTime::at(SystemTime::now()) else {
        return (Limit::Full, Some(LOOK_EVERY));
    };
    let (day, time) = (Weekday::of_number(weekday.into()), TimeOfDay::of_minute(minute));
    let next = schedule.next_change(day, time);
    (schedule.limit_at(day, time), next.map(|next| next.saturating_sub(Duration::from_secs(second.into()))))
}

/// Whether nothing may be sent, and else the most, where `rate` is configured as the whole.
fn apply(limit: Limit, rate: Option<schedule::Rate>) -> (bool, Option<Rate>) {
    match limit {
        Limit::Off => (true, rate.map(line_rate)),
        Limit::Full => (false, rate.map(line_rate)),
        Limit::Rate(own) => (false, Some(line_rate(rate.map_or(own, |rate| rate.min(own))))),
        // Without a whole there is no share of it; that is refused when the configuration is read.
        Limit::Share(percent) => {
            let share = |rate: schedule::Rate| rate.bits_per_second() / 100 * u64::from(percent);
            (false, rate.map(|rate| Rate::from_bits_per_second(share(rate))))
        }
    }
}

fn line_rate(rate: schedule::Rate) -> Rate {
    Rate::from_bits_per_second(rate.bits_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_rate_or_nothing_at_all() {
        let rate = |mbit: u64| schedule::Rate::new(mbit * 1_000_000).unwrap();
        for (limit, configured, expected) in [
            (Limit::Full, None, (false, None)),
            (Limit::Full, Some(rate(50)), (false, line(50))),
            (Limit::Share(30), Some(rate(50)), (false, line(15))),
            (Limit::Rate(rate(2)), None, (false, line(2))),
            (Limit::Rate(rate(80)), Some(rate(50)), (false, line(50))),
            (Limit::Off, Some(rate(50)), (true, line(50))),
        ] {
            assert_eq!(apply(limit, configured), expected, "{limit:?} of {configured:?}");
        }
    }

    #[test]
    fn rate_is_the_pace_of_the_fixed_policy_and_the_cap_of_the_others() {
        let limits = Limits::default();
        for (policy, rate, expected, cap) in [
            (Policy::Fixed, line(50), congestion::Policy::Fixed(line(50).unwrap()), None),
            (Policy::Fair, line(50), congestion::Policy::Fair, line(50)),
            (Policy::Trickle, line(2), congestion::Policy::Trickle, line(2)),
            (Policy::Fair, None, congestion::Policy::Fair, None),
        ] {
            set(&limits, policy, rate);
            assert_eq!((limits.policy(), limits.cap()), (expected, cap), "{policy:?} with {rate:?}");
        }
    }

    fn line(mbit: u64) -> Option<Rate> {
        Some(Rate::from_bits_per_second(mbit * 1_000_000))
    }
}
