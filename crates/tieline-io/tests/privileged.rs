//! What only a privileged process can try, in namespaces of its own.

fn main() {}
