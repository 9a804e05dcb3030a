//! Provisioning through the real `xtask` program, against a local server that misbehaves on
//! purpose.
//!
//! After every run the final file must be right or absent, the exit code the documented one, and
//! the folder hold nothing but what the guide lists. Nothing here measures time; what an
//! environment does not allow (mounting, signals) is printed as skipped.

mod announced;
mod chaos;
mod clean_cache;
mod connections;
mod disk;
mod fetch_models;
mod folder_source;
mod interruption;
mod names;
mod proxy_and_token;
mod resume;
mod server;
mod statuses;
mod tokenizer;
mod workbench;
