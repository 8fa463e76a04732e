//! A sum over a window of octets that moves on by one octet in a few cycles.
//!
//! The octets are the coefficients of a polynomial, and the sum is its value at a secret point, modulo the prime 2^61 - 1. Two different
//! windows of n octets have the same value at fewer than n of the 2^60 points. So whoever does not know the point cannot
//! prepare octets whose sums collide, which a sum without a secret (as rsync's) allows, and no structure of ordinary files does it by
//! accident, as swapped records would with a sum that merely rotates.

use super::Key;

const MODULUS: u64 = (1 << 61) - 1;
/// The point stays below 2^60, so that a value need not be reduced fully while the window moves.
const POINT_MASK: u64 = (1 << 60) - 1;
/// Octets that are summed in one step.
const STEP: usize = 8;

/// Sums windows of one length.
pub(super) struct Rolling {
    point: u64,
    /// Powers of the point for the octets of a step, the highest first.
    powers: [u64; STEP],
    /// The power of the point that moves a value on by one step.
    step: u64,
    /// What an octet that leaves the window takes with it, as a number to be added.
    leaving: [u64; 256],
}

impl Rolling {
    /// Prepares for windows of `window` octets under `key`.
    pub(super) fn new(key: &Key, window: usize) -> Self {
        let point = key.number("tieline delta: point of the rolling sum") & POINT_MASK;
        let mut powers = [1; STEP];
        for index in (0..STEP - 1).rev() {
            powers[index] = multiply(powers[index + 1], point);
        }
        let first = power(point, window as u64);
        let leaving = std::array::from_fn(|octet| {
            let share = multiply(octet as u64, first);
            if share == 0 { 0 } else { MODULUS - share }
        });
        Self { point, powers, step: multiply(powers[0], point), leaving }
    }

    /// Sums all of `octets`, of any length.
    pub(super) fn sum(&self, octets: &[u8]) -> Sum {
        let (steps, rest) = octets.as_chunks::<STEP>();
        let mut value = 0;
        for step in steps {
            let added =
                step.iter().zip(&self.powers).map(|(octet, power)| product(u64::from(*octet), *power));
            value = canonical(fold(product(value, self.step) + added.sum::<u128>()));
        }
        for octet in rest {
            value = canonical(fold(product(value, self.point) + u128::from(*octet)));
        }
        Sum(value)
    }

    /// Moves a window on: `leaving` is its first octet, `entering` the one behind its end.
    #[inline(always)]
    pub(super) fn roll(&self, sum: Sum, leaving: u8, entering: u8) -> Sum {
        let added = self.leaving[usize::from(leaving)] + u64::from(entering);
        Sum(fold(product(sum.0, self.point) + u128::from(added)))
    }
}

/// The value of a window, not reduced fully: below 2^62 + 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum(u64);

impl Sum {
    /// The one number for this window, below 2^61.
    #[inline(always)]
    pub(super) fn value(self) -> u64 {
        canonical(self.0)
    }
}

/// Below 2^62 + 4 if `number` is below 2^123, which holds for a [`Sum`] times a point, and for two numbers below the modulus.
#[inline(always)]
fn fold(number: u128) -> u64 {
    (number as u64 & MODULUS) + (number >> 61) as u64
}

#[inline(always)]
fn canonical(number: u64) -> u64 {
    let folded = (number & MODULUS) + (number >> 61);
    if folded >= MODULUS { folded - MODULUS } else { folded }
}

#[inline(always)]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

fn multiply(a: u64, b: u64) -> u64 {
    canonical(fold(product(a, b)))
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rolling(seed: u8, window: usize) -> Rolling {
        Rolling::new(&Key::new([seed; Key::LEN]), window)
    }

    /// The definition, octet by octet.
    fn plain(rolling: &Rolling, octets: &[u8]) -> u64 {
        octets.iter().fold(0, |value, octet| {
            let moved = product(value, rolling.point) + u128::from(*octet);
            (moved % u128::from(MODULUS)) as u64
        })
    }

    proptest! {
        #[test]
        fn a_sum_is_the_value_of_its_polynomial(octets: Vec<u8>, seed: u8) {
            let rolling = rolling(seed, 1);
            prop_assert_eq!(rolling.sum(&octets).value(), plain(&rolling, &octets));
        }

        #[test]
        fn a_window_that_moved_has_the_sum_of_its_place(
            octets in prop::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 1..400),
            window in 1..100_usize,
            seed: u8,
        ) {
            prop_assume!(window <= octets.len());
            let rolling = rolling(seed, window);
            let mut sum = rolling.sum(&octets[..window]);
            for at in 0..octets.len() - window {
                sum = rolling.roll(sum, octets[at], octets[at + window]);
                prop_assert_eq!(sum.value(), plain(&rolling, &octets[at + 1..=at + window]));
            }
        }
    }

    #[test]
    fn a_long_way_through_the_highest_octets_overflows_nothing() {
        for seed in 0..=255 {
            let rolling = rolling(seed, 64);
            let (low, high) = ([0; 64], [255; 64]);
            let mut sum = rolling.sum(&low);
            for _ in 0..64 {
                sum = rolling.roll(sum, 0, 255);
            }
            assert_eq!(sum.value(), plain(&rolling, &high));
            for _ in 0..10_000 {
                sum = rolling.roll(sum, 255, 255);
            }
            assert_eq!(sum.value(), plain(&rolling, &high));
        }
    }

    #[test]
    fn what_collides_under_a_sum_without_a_secret_does_not_here() {
        let rolling = rolling(7, 512);
        let mut records = [0_u8; 512];
        for (index, octet) in records.iter_mut().enumerate() {
            *octet = (index / 64) as u8;
        }
        let mut swapped = records;
        swapped.copy_within(64..128, 0);
        swapped[64..128].copy_from_slice(&records[..64]);
        assert_ne!(rolling.sum(&records).value(), rolling.sum(&swapped).value());
        // The same octets added up and the same weighted by place: rsync's two sums.
        let (mut a, mut b) = ([0_u8; 512], [0_u8; 512]);
        a[..4].copy_from_slice(&[1, 0, 0, 1]);
        b[..4].copy_from_slice(&[0, 1, 1, 0]);
        assert_ne!(rolling.sum(&a).value(), rolling.sum(&b).value());
    }
}
