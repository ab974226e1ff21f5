//! The pure middle imports nothing from the edges: it is judged by values alone.

use std::{fs, path::Path};

const PURE: [&str; 9] = [
    "model",
    "ownership",
    "policy",
    "desired",
    "plan",
    "explain",
    "neighbours",
    "symmetry",
    "render",
];
/// A plain value that is counted where the maps are and printed here.
const ARGUED: [(&str, &str); 1] = [("render/status.rs", "bpf")];
const EDGES: [&str; 3] = ["netlink", "bpf", "metadata"];

/// Files of a module: `name.rs` and everything below `name/`.
fn files(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    if path.with_extension("rs").is_file() {
        found.push(path.with_extension("rs"));
    }
    for entry in fs::read_dir(path).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found)
        } else {
            found.push(path)
        }
    }
}

#[test]
fn the_pure_modules_import_nothing_from_the_edges() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for module in PURE {
        let mut found = Vec::new();
        files(&source.join(module), &mut found);
        assert!(!found.is_empty(), "there is no module {module}");
        for file in found {
            let text = fs::read_to_string(&file).expect("a source file");
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let code: String = code.collect::<Vec<_>>().join(" ");
            for path in code.split("crate::").skip(1) {
                // `use crate::{a, b::c};` or a path in the code.
                let list = path.split(';').next().unwrap_or_default();
                let end = list.find(|c: char| !c.is_alphanumeric() && c != '_');
                let names = if list.starts_with('{') {
                    list
                } else {
                    &list[..end.unwrap_or(list.len())]
                };
                for name in names.split(|c: char| !c.is_alphanumeric() && c != '_') {
                    let argued = |(at, edge): &(&str, &str)| file.ends_with(at) && name == *edge;
                    assert!(
                        !EDGES.contains(&name) || ARGUED.iter().any(argued),
                        "{} uses crate::{name}",
                        file.display()
                    );
                }
            }
        }
    }
}

/// The wall clock can jump. It is shown to people, and nothing is decided by it.
#[test]
fn nothing_is_decided_by_a_clock_that_can_jump() {
    const SHOWN: [&str; 2] = ["daemon/report.rs", "counters/mod.rs"];
    let mut found = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 100, "{} files", found.len());
    for file in found
        .iter()
        .filter(|file| !file.ends_with("testing/pure.rs"))
    {
        let text = fs::read_to_string(file).expect("a source file");
        let asks = ["SystemTime", "CLOCK_REALTIME"]
            .iter()
            .any(|name| text.contains(name));
        let argued = SHOWN.iter().any(|shown| file.ends_with(shown));
        assert!(!asks || argued, "{}", file.display());
    }
}
