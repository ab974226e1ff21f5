//! No parser of external input panics, whatever the bytes. `cargo xtask fuzz` searches for such
//! bytes with more patience; this runs the same functions over the same corpus.

use std::{collections::BTreeSet, fs, path::PathBuf};

use eni_steer_linux::parsers::PARSERS;
use proptest::{collection::vec, prelude::*, sample};

/// Returns a directory of the fuzz targets' package.
fn fuzz(directory: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(directory)
}

/// Returns the corpus of a parser: well-formed input, and input that once made it panic.
fn corpus(parser: &str) -> Vec<Vec<u8>> {
    let directory = fuzz("corpus").join(parser);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let files = entries.map(|entry| entry.expect("an entry").path());
    let corpus: Vec<_> = files
        .map(|file| fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
        .collect();
    assert!(!corpus.is_empty(), "{} is empty", directory.display());
    corpus
}

#[test]
fn every_parser_has_a_fuzz_target() {
    let targets = fs::read_dir(fuzz("fuzz_targets")).expect("fuzz targets");
    let targets: BTreeSet<_> = targets
        .map(|entry| entry.expect("an entry").path())
        .map(|file| {
            file.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let parsers: BTreeSet<_> = PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, parsers);
}

#[test]
fn no_parser_panics_on_its_corpus_or_on_a_part_of_it() {
    for (name, parse) in PARSERS {
        for input in corpus(name) {
            for length in 0..=input.len().min(2000) {
                parse(&input[..length]);
            }
            parse(&input);
        }
    }
}

/// Changes some bytes of an input, removes some, or inserts some.
fn changed() -> impl Strategy<Value = Vec<(sample::Index, Vec<u8>, usize)>> {
    vec(
        (any::<sample::Index>(), vec(any::<u8>(), 0..6), 0..6usize),
        1..5,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_parser_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        for (_, parse) in PARSERS {
            parse(&bytes);
        }
    }

    #[test]
    fn no_parser_panics_on_its_corpus_with_changes(which in any::<sample::Index>(), changes in changed()) {
        for (name, parse) in PARSERS {
            let corpus = corpus(name);
            let mut input = which.get(&corpus).clone();
            for (place, bytes, out) in &changes {
                let from = place.index(input.len() + 1);
                let to = (from + out).min(input.len());
                input.splice(from..to, bytes.iter().copied());
            }
            parse(&input);
        }
    }
}
