//! Makes labs of the steps and grades them: for those who teach, and for CI.
//!
//! What students have too is in [`lab`]. What copies, edits and builds a
//! workspace is also used by the mutants.

pub mod anywhere;
mod confine;
pub mod grade;
pub mod grade_all;
pub mod new_directory;
pub mod proof;
pub mod start;
mod submissions;
pub mod workshop;
