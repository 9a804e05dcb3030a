//! Passes on where the reference's shared libraries lie, if it has any.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let paths = std::env::var("DEP_BITNET_REFERENCE_RPATHS").unwrap_or_default();
    for path in paths.split(':').filter(|path| !path.is_empty()) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
    }
}
