//! The walk against the semantics of the kernel.
