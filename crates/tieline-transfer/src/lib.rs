//! tieline-transfer
