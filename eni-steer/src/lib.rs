//! eni-steer.
