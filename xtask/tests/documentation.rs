//! The pages on provisioning say only what the program takes.

use std::path::Path;

use clap::Parser as _;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The arguments of every call of xtask on a page, continuation lines joined.
fn calls(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let after = |line: &str| Some(line.split_once("cargo xtask ")?.1.to_owned());
    joined
        .lines()
        .filter_map(after)
        .map(|call| {
            call.split(['`', '"', '#', ')'])
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

#[test]
fn every_call_of_xtask_in_the_pages_is_understood() {
    let mut found = 0;
    for name in [
        "quickstart.md",
        "how-to/offline.md",
        "how-to/prove-parity.md",
        "reference/parity.md",
    ] {
        for call in calls(&page(name)) {
            found += 1;
            // Folders of an example do not exist here: anything but those must parse.
            let call: Vec<_> = call
                .iter()
                .map(|word| {
                    if word.starts_with("/media/") {
                        "."
                    } else {
                        word
                    }
                })
                .collect();
            let parsed =
                xtask::Cli::try_parse_from(["xtask"].into_iter().chain(call.iter().copied()));
            if let Err(error) = parsed {
                panic!("{name}: {call:?}: {error}");
            }
        }
    }
    assert!(found >= 12, "the pages have calls; {found} were found");
}

#[test]
fn the_section_that_error_messages_point_to_exists() {
    let quickstart = page("quickstart.md");
    assert!(
        quickstart.contains("\n## Tokenizer Setup\n"),
        "docs/quickstart.md#tokenizer-setup"
    );
    for part in [
        "### Automatic Discovery",
        "### Manual Download",
        "### HF_TOKEN Requirement",
        "### Troubleshooting",
    ] {
        assert!(quickstart.contains(part), "{part}");
    }
    assert!(page("how-to/offline.md").contains("--base-url"));
}
