//! Receipts, metrics and reference lanes.
