//! `explain`: its walk of the rules answers what the kernel answers, and the command says what
//! follows from it.

mod command;
mod generate;
mod walk;
