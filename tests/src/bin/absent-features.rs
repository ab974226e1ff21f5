//! Prints what this kernel does not have, for the test runner: one line `MARKER<tab>WHY` per
//! feature. Tests whose names contain the marker can not run here.

use eni_steer_tests::Feature;

fn main() {
    for feature in Feature::absent() {
        println!("{}\t{}", feature.marker(), feature.why_skipped());
    }
}
