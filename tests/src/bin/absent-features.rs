//! What this kernel does not have, for the runner: a line `MARKER<tab>WHY` for each feature.
//! Tests whose names contain the marker can not run here.

use eni_steer_tests::Feature;

fn main() {
    for feature in Feature::absent() {
        println!("{}\t{}", feature.marker(), feature.why_skipped());
    }
}
