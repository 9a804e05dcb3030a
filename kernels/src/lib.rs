//! The vocabulary of compute: formats, operations, the Backend trait and its scalar oracle.
