//! tieline-sim
