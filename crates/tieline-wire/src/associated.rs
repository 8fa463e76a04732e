//! associated
