//! The part of curve25519-dalek that tieline uses, with a memory: `[patch.crates-io]` of the fuzz targets puts it in the place of
//! the release.
//!
//! A target begins each input with the same keys and the same seeds, so the same few products of X25519 are wanted again and
//! again; they were four fifths of the time of the targets that make handshakes. A product is a function of its two factors: here
//! it is computed once, by aws-lc. Keys stay in memory: nothing but fuzz targets may be built with this.

use std::cell::RefCell;
use std::collections::HashMap;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

/// The scalars of X25519.
pub mod scalar {
    /// Sets the bits that X25519 sets (RFC 7748 §5, `decodeScalar25519`).
    #[must_use]
    pub const fn clamp_integer(mut scalar: [u8; 32]) -> [u8; 32] {
        scalar[0] &= 248;
        scalar[31] = scalar[31] & 127 | 64;
        scalar
    }
}

/// A point on the curve, as its u-coordinate (RFC 7748 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MontgomeryPoint(pub [u8; 32]);

impl MontgomeryPoint {
    /// The base point times the clamped `scalar`.
    #[must_use]
    pub fn mul_base_clamped(scalar: [u8; 32]) -> Self {
        Self(BASE).mul_clamped(scalar)
    }

    /// This point times the clamped `scalar`; zero for a point of low order (RFC 7748 §6.1).
    #[must_use]
    pub fn mul_clamped(self, scalar: [u8; 32]) -> Self {
        let remembered = PRODUCTS.with_borrow(|products| products.get(&(self.0, scalar)).copied());
        Self(remembered.unwrap_or_else(|| {
            let product = multiply(&self.0, &scalar);
            remember((self.0, scalar), product);
            product
        }))
    }

    /// The u-coordinate.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

fn multiply(point: &[u8; 32], scalar: &[u8; 32]) -> [u8; 32] {
    let private_key = PrivateKey::from_private_key(&X25519, scalar).expect("32 octets are a key");
    let mut product = [0; 32];
    // What it refuses are points of low order, and their product is zero.
    let _ = agree(&private_key, UnparsedPublicKey::new(&X25519, point), (), |shared| {
        product.copy_from_slice(shared);
        Ok(())
    });
    product
}

fn remember(factors: Factors, product: [u8; 32]) {
    PRODUCTS.with_borrow_mut(|products| {
        if products.len() >= PRODUCTS_MAX {
            products.clear();
        }
        products.insert(factors, product);
    });
}

/// A point and a scalar.
type Factors = ([u8; 32], [u8; 32]);

thread_local! {
    static PRODUCTS: RefCell<HashMap<Factors, [u8; 32]>> = RefCell::default();
}

/// The u-coordinate of the base point (RFC 7748 §4.1).
const BASE: [u8; 32] = {
    let mut base = [0; 32];
    base[0] = 9;
    base
};

/// Products remembered, about 15 MiB; then all are forgotten.
const PRODUCTS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap())
    }

    #[test]
    fn products_are_those_of_the_rfc_the_first_time_and_the_second() {
        // RFC 7748 §5.2: input scalar, input u-coordinate, output u-coordinate.
        for [scalar, point, product] in [
            [
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ],
            [
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ],
        ] {
            for _ in 0..2 {
                assert_eq!(
                    MontgomeryPoint(octets(point)).mul_clamped(octets(scalar)).to_bytes(),
                    octets(product)
                );
            }
        }
    }

    #[test]
    fn a_thousand_products_in_a_row_are_those_of_the_rfc() {
        // RFC 7748 §5.2, "After 1,000 iterations".
        let (mut scalar, mut point) = (BASE, BASE);
        for _ in 0..1000 {
            let product = MontgomeryPoint(point).mul_clamped(scalar).to_bytes();
            (scalar, point) = (product, scalar);
        }
        assert_eq!(scalar, octets("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
    }

    #[test]
    fn a_point_of_low_order_gives_zero() {
        for u in [0, 1] {
            let mut point = [0; 32];
            point[0] = u;
            assert_eq!(MontgomeryPoint(point).mul_clamped([7; 32]).to_bytes(), [0; 32]);
        }
    }

    #[test]
    fn a_full_memory_forgets_all_and_goes_on() {
        for number in 0..=PRODUCTS_MAX {
            let mut scalar = [0; 32];
            scalar[..8].copy_from_slice(&number.to_be_bytes());
            remember((BASE, scalar), scalar);
        }
        assert_eq!(PRODUCTS.with_borrow(HashMap::len), 1);
    }
}
