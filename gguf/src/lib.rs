//! GGUF reader and writer: memory-mapped, bounds-checked, no arithmetic.
