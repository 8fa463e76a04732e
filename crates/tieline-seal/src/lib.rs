//! tieline-seal
