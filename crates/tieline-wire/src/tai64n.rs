//! tai64n
