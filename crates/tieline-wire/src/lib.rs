//! Octet formats of tieline and their newtypes; no state.
