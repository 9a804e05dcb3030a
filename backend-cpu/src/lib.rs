//! CPU kernels with run-time dispatch over instruction sets.
