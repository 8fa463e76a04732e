//! tieline-node
