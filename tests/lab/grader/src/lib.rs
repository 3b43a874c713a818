//! Makes labs of the steps and grades them: for those who teach, and for CI.
//!
//! What students have too is in [`lab`]. What copies, edits and builds a
//! workspace is also used by the mutants.

mod confine;
mod edit;
pub mod grade;
mod holes;
pub mod new_directory;
mod plan;
pub mod proof;
pub mod start;
pub mod workshop;
