//! Plain English: banned turns are found neither in what users see nor in the documents.
//!
//! What users see: string literals of the crates (outside tests), and the help, which clap makes
//! from the doc comments of `args.rs`. CONTRIBUTING.md explains the turns.

mod text;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use text::{Text, literals, prose};

/// A turn, and what to write instead.
///
/// A turn is a list of words; `a|b` allows either, `*` any word, `!a|b` any word but these. Its
/// words must follow each other with only spaces or line breaks between them.
const BANNED: &[(&str, &str)] = &[
    ("told", "reports, knows, is given"),
    ("said", "reported, logged"),
    ("spoken|spoke of", "named"),
    ("speak|speaks|speaking of", "names, refers to"),
    ("taken in", "added, managed"),
    (
        "!there is|are|was|were no !longer|more",
        "is not a ...: \"eth9 is not an ENI\"",
    ),
    ("what it|they comes|come to", "the effective value"),
    ("what does|do it|they come to", "the effective value"),
    ("to be had", "available"),
    ("of others|nobody", "of other programs"),
    ("somebody|someone else", "another program"),
    ("somebody|nobody|others s", "another program's"),
    ("by itself decides", "name the rule that decides"),
    ("written|wrote|write|writes down", "recorded, saved"),
    ("as by default", "has its default"),
    ("is|are|was|were to be", "must be, eni-steer does it"),
    ("is|are|was|were there for", "has the purpose"),
    ("takes|take|took|taken away", "deletes, removes"),
    ("goes|go by it", "uses it"),
    ("whatever has|have become", "even if"),
    ("asks|ask|needs|need none", "needs no ..."),
    ("names|name none", "does not name any"),
    ("is|are none of", "is not one of"),
    ("keeps|keep to main", "keeps using the main table"),
    ("never be asked", "has no effect"),
];

/// Documents and shipped files that users read.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "contrib",
];

/// Blocks between `<!-- NAME -->` and `<!-- /NAME -->` that the test leaves out: the list of
/// banned turns, and what commands generate.
const EXEMPT: [&str; 5] = ["banned turns", "demo", "bench", "measured", "kernels"];

struct Finding {
    file: PathBuf,
    line: usize,
    turn: String,
    instead: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: \"{}\"; write instead: {}",
            self.file.display(),
            self.line,
            self.turn,
            self.instead
        )
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

/// Every file below a path, or the path itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<PathBuf> = entries
        .flat_map(|entry| self::files(&entry.expect("an entry").path()))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Searches texts of a file for banned turns.
fn search(file: &Path, texts: &[Text]) -> Vec<Finding> {
    let file = file.strip_prefix(root()).unwrap_or(file);
    let mut found = Vec::new();
    for text in texts {
        for (turn, instead) in BANNED {
            found.extend(text.find(turn).into_iter().map(|(line, turn)| Finding {
                file: file.to_owned(),
                line,
                turn,
                instead,
            }));
        }
    }
    found.sort_by_key(|finding| finding.line);
    found
}

#[track_caller]
fn expect_none(found: &[Finding]) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "{} banned turns (CONTRIBUTING.md, \"Writing\"):\n{}",
        found.len(),
        lines.join("\n")
    );
}

/// The strings of a package, and the doc comments of the file that makes the help.
fn strings_of(package: &str) -> Vec<(PathBuf, Vec<Text>)> {
    let sources = files(&root().join("eni-steer").join(package).join("src"));
    let sources = sources
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"))
        // Only tests use these: `mod tests;` has a file of its own, `fake` a feature.
        .filter(|file| file.file_stem().is_none_or(|stem| stem != "tests"))
        .filter(|file| !file.components().any(|part| part.as_os_str() == "fake"));
    sources
        .map(|file| {
            let help = file.ends_with("cli/args.rs");
            let texts =
                literals(&read(&file), help).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            (file, texts)
        })
        .collect()
}

#[test]
fn what_users_see_is_in_plain_english() {
    let mut found = Vec::new();
    for package in ["core", "linux", "cli"] {
        let strings = strings_of(package);
        let count: usize = strings.iter().map(|(_, texts)| texts.len()).sum();
        assert!(count > 100, "only {count} strings in {package}");
        for (file, texts) in strings {
            found.extend(search(&file, &texts));
        }
    }
    expect_none(&found);
}

/// Otherwise the test above would pass although it searches too little.
#[test]
fn help_errors_and_log_lines_are_among_what_is_searched() {
    let strings = strings_of("cli");
    for (file, words) in [
        ("args.rs", "show what apply would change"),
        ("carry_out.rs", "this step failed"),
        ("daemon/mod.rs", "eni-steer pauses its repair"),
        ("verify.rs", "test lookups use the right interface"),
    ] {
        let texts = strings.iter().filter(|(path, _)| path.ends_with(file));
        let mut texts = texts.flat_map(|(_, texts)| texts);
        assert!(
            texts.any(|text| !text.find(words).is_empty()),
            "{words:?} is not found in {file}"
        );
    }
}

#[test]
fn documents_are_in_plain_english() {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let files = files(&root().join(document)).into_iter();
        let files: Vec<PathBuf> = files
            .filter(|file| file.extension().is_none_or(|e| e != "svg"))
            .collect();
        assert!(!files.is_empty(), "{document} is empty");
        for file in files {
            found.extend(search(&file, &[prose(&read(&file), &EXEMPT)]));
        }
    }
    expect_none(&found);
}
