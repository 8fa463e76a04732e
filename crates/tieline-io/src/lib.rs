//! tieline-io
