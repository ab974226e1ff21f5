//! What some tests need of the kernel and some kernels do not have.
//!
//! Such a test has the feature's marker in its name and begins with [`requires`]. The runner
//! (`cargo xtask test`) asks the kernel once, leaves these tests out if the feature is absent,
//! and prints a line `skipped: NAME: WHY` for each. If somebody runs them in another way, they
//! fail with the same reason. No test passes without testing anything.

use crate::kernel_has_tcx;

/// Something that only some kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// TC programs that are attached by links (6.6 and later).
    Tcx,
    /// Routes that put packets into other packets (`ip route add ... encap`, `CONFIG_LWTUNNEL`).
    Encapsulation,
}

impl Feature {
    /// Every feature that a test needs.
    pub const ALL: [Self; 2] = [Self::Tcx, Self::Encapsulation];

    /// Returns the part of the name that marks each test which needs the feature.
    #[must_use]
    pub const fn marker(self) -> &'static str {
        match self {
            Self::Tcx => "with_tcx",
            Self::Encapsulation => "with_encapsulation",
        }
    }

    /// Returns why a test that needs the feature does not run without it.
    #[must_use]
    pub const fn why_skipped(self) -> &'static str {
        match self {
            Self::Tcx => "no TCX on this kernel (needs 6.6)",
            Self::Encapsulation => "routes of this kernel do not encapsulate (CONFIG_LWTUNNEL)",
        }
    }

    /// Returns whether this kernel has the feature. It asks the kernel and does not look at its
    /// version.
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            Self::Tcx => kernel_has_tcx(),
            Self::Encapsulation => {
                let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
                symbols.contains(" lwtunnel_build_state\n")
            }
        }
    }

    /// Returns the features that this kernel does not have.
    pub fn absent() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|feature| !feature.is_here())
    }
}

/// Fails the test if the kernel does not have what it needs.
#[track_caller]
pub fn requires(feature: Feature) {
    assert!(
        feature.is_here(),
        "{}: this test can not run here\n\
         hint: cargo xtask test leaves it out and lists it; elsewhere: --skip {}",
        feature.why_skipped(),
        feature.marker()
    );
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn a_test_has_a_features_marker_in_its_name_exactly_if_it_requires_the_feature() {
        let mut files = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        sources(&root, &mut files);
        let mut marked = 0;
        for file in files {
            let text = fs::read_to_string(&file).expect("a source");
            // Split the file into its tests.
            for test in text.split("#[test]").skip(1) {
                let name = test.split_once("fn ").expect("a function").1;
                let name = name.split('(').next().expect("a name");
                for feature in Feature::ALL {
                    let has_marker = name.contains(feature.marker());
                    let asks = test.contains(&format!("requires(Feature::{feature:?})"));
                    assert_eq!(has_marker, asks, "{}: {name}", file.display());
                    marked += usize::from(asks);
                }
            }
        }
        assert!(marked > 0, "no test below {} was read", root.display());
    }
}
