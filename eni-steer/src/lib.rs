//! Routing symmetry for Linux hosts with several cloud network interfaces (ENIs).

pub mod model;
