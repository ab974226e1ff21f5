//! eni-steer.
fn main() {}
