//! Every test that needs the lab: network namespaces that play a host, its VPC and a client. They
//! run as root. There is one module per subject. A test is found as `MODULE::NAME`, and
//! `cargo xtask test MODULE::` runs all tests of a module.

mod access;
mod addresses;
mod answers;
mod apply;
mod bad_input;
mod balance;
mod believed;
mod beside;
mod clock;
mod common;
mod configuration;
mod confirm;
mod copies;
mod counters;
mod daemon;
mod doctor;
mod elsewhere;
mod enis;
mod explain;
mod faults;
mod foreign;
mod json;
mod kernels;
mod leases;
mod main_table;
mod namespaces;
mod off;
mod primary;
mod report;
mod rollback;
mod service;
mod steering;
mod symmetry;
mod terminal;
mod textbook;
mod the_lab;
mod upgrade;
mod writers;
