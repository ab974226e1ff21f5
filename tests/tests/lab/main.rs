//! Everything that needs the lab: network namespaces that play a host, its VPC, a client. It runs
//! as root. One module for each subject; a test is found as `MODULE::NAME`, and all tests of a
//! module run with `cargo xtask test MODULE::`.

mod access;
mod addresses;
mod apply;
mod bad_input;
mod balance;
mod beside;
mod clock;
mod common;
mod configuration;
mod confirm;
mod counters;
mod daemon;
mod enis;
mod faults;
mod foreign;
mod kernels;
mod main_table;
mod rollback;
mod service;
mod steering;
mod symmetry;
mod textbook;
mod the_lab;
mod upgrade;
