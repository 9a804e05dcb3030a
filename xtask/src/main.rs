//! Provisioning, preflight, parity and fixtures.

fn main() {}
