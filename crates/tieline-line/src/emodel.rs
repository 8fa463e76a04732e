//! How good a call sounds, reckoned from what was measured of it: the E-model (ITU-T G.107, 2015).
//!
//! R = Ro − Is − Id − Ie,eff + A. All inputs that a line cannot see, loudness and echo for instance, have the defaults of G.107 §7, so
//! Ro and Is are constants, and A is 0. What is left is delay (Id) and loss (Ie,eff). R becomes a mean opinion score from 1 (bad) to 4.5
//! (nobody gives better).
//!
//! It is an estimate of what an average listener would say, not of what this one heard. It takes phones to conceal loss as well as G.711
//! Appendix I; plain ones sound worse at the same loss.

use std::time::Duration;

/// Ro: signal to noise.
const RO: f64 = 94.77;
/// Is: impairments that come with the voice.
const IS: f64 = 1.41;
/// The noise on the line, dBm0p.
const NO: f64 = -61.18;
/// Loudness of the receiving side, dB.
const RLR: f64 = 2.0;
/// Loudness of the talker's echo, dB.
const TELR: f64 = 65.0;
/// Weighted echo path loss, dB.
const WEPL: f64 = 110.0;
/// Delay in ms up to which nobody minds.
const DELAY_FREE_MS: f64 = 100.0;
/// The best of all scores.
const MOS_MAX: f64 = 4.5;

/// What a codec does to the voice, by itself and with loss (ITU-T G.113 Appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Ie: without loss.
    pub equipment: f64,
    /// Bpl: how well it conceals loss.
    pub loss_robustness: f64,
}

impl Impairment {
    /// G.711 with the concealment of its Appendix I.
    pub const G711: Self = Self::new(0.0, 25.1);
    /// G.711 with silence for what is lost.
    pub const G711_UNCONCEALED: Self = Self::new(0.0, 4.3);
    /// G.729.
    pub const G729: Self = Self::new(10.0, 19.0);
    /// G.729A with silence suppression.
    pub const G729A_SILENCE: Self = Self::new(11.0, 19.0);
    /// G.723.1 at 6.3 kbit/s with silence suppression.
    pub const G723: Self = Self::new(15.0, 16.1);
    /// G.722 at 64 kbit/s; rough, for this model knows the band of a telephone only.
    pub const G722: Self = Self::new(4.0, 15.7);
    /// GSM, full rate. Nothing is published of its robustness: it is that of its successor.
    pub const GSM: Self = Self::new(20.0, 10.0);
    /// GSM, enhanced full rate.
    pub const GSM_EFR: Self = Self::new(5.0, 10.0);
    /// Opus is not in G.113; this is what other tools take.
    pub const OPUS: Self = Self::new(0.0, 25.0);

    const fn new(equipment: f64, loss_robustness: f64) -> Self {
        Self { equipment, loss_robustness }
    }
}

/// What happens to a call between mouth and ear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// From mouth to ear: packet time, network and the phone's buffer together.
    pub delay: Duration,
    /// The share of packets that were lost or too late, 0 to 1.
    pub loss: f64,
    /// The mean length of the bursts of loss, over what it were if loss was random; 1 or more.
    pub burst_ratio: f64,
    /// The codec's part.
    pub impairment: Impairment,
}

/// The rating R.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rating(f64);

impl Rating {
    /// Rates a call (G.107 §7).
    #[must_use]
    pub fn of(conditions: &Conditions) -> Self {
        let delay_ms = conditions.delay.as_secs_f64() * 1000.0;
        Self(RO - IS - delay_impairment(delay_ms) - equipment_impairment(conditions))
    }

    /// R itself: 93.2 is the best, 80 satisfies, below 60 hardly anybody is content (ITU-T G.109).
    #[must_use]
    pub fn r(self) -> f64 {
        self.0
    }

    /// The mean opinion score, 1 to 4.5 (G.107 Annex B).
    #[must_use]
    pub fn mos(self) -> f64 {
        let r = self.0;
        if r <= 0.0 {
            1.0
        } else if r >= 100.0 {
            MOS_MAX
        } else {
            // Slightly below 1 for small R, which no listener can say.
            (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
        }
    }
}

/// Id = Idte + Idle + Idd, with T = Ta and Tr = 2 T (G.107 §7.4).
fn delay_impairment(delay_ms: f64) -> f64 {
    talker_echo(delay_ms) + listener_echo(2.0 * delay_ms) + pure_delay(delay_ms)
}

/// Idte.
fn talker_echo(t: f64) -> f64 {
    let terv = TELR - 40.0 * ((1.0 + t / 10.0) / (1.0 + t / 150.0)).log10() + 6.0 * (-0.3 * t * t).exp();
    let re = 80.0 + 2.5 * (terv - 14.0);
    let roe = -1.5 * (NO - RLR);
    let half = (roe - re) / 2.0;
    (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-t).exp())
}

/// Idle.
fn listener_echo(tr: f64) -> f64 {
    let rle = 10.5 * (WEPL + 7.0) * (tr + 1.0).powf(-0.25);
    let half = (RO - rle) / 2.0;
    half + (half * half + 169.0).sqrt()
}

/// Idd.
fn pure_delay(ta: f64) -> f64 {
    if ta <= DELAY_FREE_MS {
        return 0.0;
    }
    let x = (ta / DELAY_FREE_MS).log2();
    let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// Ie,eff (G.107 §7.5).
fn equipment_impairment(conditions: &Conditions) -> f64 {
    let Impairment { equipment, loss_robustness } = conditions.impairment;
    let percent = 100.0 * conditions.loss.clamp(0.0, 1.0);
    equipment + (95.0 - equipment) * percent / (percent / conditions.burst_ratio.max(1.0) + loss_robustness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rating(delay_ms: u64, loss_percent: f64, impairment: Impairment) -> Rating {
        let delay = Duration::from_millis(delay_ms);
        Rating::of(&Conditions { delay, loss: loss_percent / 100.0, burst_ratio: 1.0, impairment })
    }

    /// As it is printed, to two places.
    fn mos(delay_ms: u64, loss_percent: f64, impairment: Impairment) -> f64 {
        (rating(delay_ms, loss_percent, impairment).mos() * 100.0).round() / 100.0
    }

    #[test]
    fn nothing_lost_and_no_delay_is_the_best_of_the_standard() {
        let best = rating(0, 0.0, Impairment::G711);
        assert!((best.r() - 93.2).abs() < 0.05, "{best:?}");
        assert_eq!(mos(0, 0.0, Impairment::G711), 4.41);
    }

    #[test]
    fn delay_costs_what_the_standard_says() {
        for (delay, expected) in [(100, 4.36), (150, 4.33), (200, 4.22), (300, 3.72), (400, 3.22)] {
            assert_eq!(mos(delay, 0.0, Impairment::G711), expected, "{delay} ms");
        }
    }

    #[test]
    fn loss_costs_what_the_standard_says() {
        let table =
            [(0.3, 4.33), (0.6, 4.3), (0.8, 4.28), (1.0, 4.26), (2.0, 4.15), (3.1, 4.03), (5.0, 3.82)];
        for (loss, expected) in table {
            assert_eq!(mos(100, loss, Impairment::G711), expected, "{loss} %");
        }
    }

    #[test]
    fn codecs_are_rated_by_what_they_do_to_the_voice() {
        assert_eq!(mos(50, 0.0, Impairment::G729), 4.09);
        let order = [
            Impairment::OPUS,
            Impairment::G722,
            Impairment::GSM_EFR,
            Impairment::G729,
            Impairment::G729A_SILENCE,
            Impairment::G723,
        ];
        let ratings = order.map(|codec| rating(50, 0.0, codec));
        assert!(ratings.is_sorted_by(|better, worse| better > worse), "{ratings:?}");
        assert!(mos(100, 1.0, Impairment::G711_UNCONCEALED) < mos(100, 4.0, Impairment::G711));
    }

    #[test]
    fn scores_are_those_that_the_standard_names_for_its_ratings() {
        for (r, score) in [(93.2, 4.41), (90.0, 4.34), (80.0, 4.02), (70.0, 3.6), (60.0, 3.1)] {
            assert!((Rating(r).mos() - score).abs() < 0.006, "R {r}");
        }
        for (r, score) in [(-20.0, 1.0), (0.0, 1.0), (3.0, 1.0), (100.0, 4.5), (120.0, 4.5)] {
            assert_eq!(Rating(r).mos(), score, "R {r}");
        }
    }

    #[test]
    fn bursts_are_worse_than_random_loss_and_impossible_input_is_rated_too() {
        let with = |loss, burst_ratio| {
            let delay = Duration::from_millis(100);
            Rating::of(&Conditions { delay, loss, burst_ratio, impairment: Impairment::G711 })
        };
        assert!(with(0.05, 2.0) < with(0.05, 1.0));
        assert_eq!(with(0.05, 0.1), with(0.05, 1.0));
        assert_eq!(with(1.7, 1.0), with(1.0, 1.0));
        assert_eq!(
            Rating::of(&Conditions {
                delay: Duration::MAX,
                loss: 1.0,
                burst_ratio: 1.0,
                impairment: Impairment::G711
            })
            .mos(),
            1.0
        );
    }
}
