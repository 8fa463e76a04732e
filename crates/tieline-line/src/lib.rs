//! tieline-line
