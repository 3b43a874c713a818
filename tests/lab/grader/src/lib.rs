//! Makes labs of the steps and grades them: for those who teach, and for CI.
//!
//! What students have too is in [`lab`]. What copies, edits and builds a
//! workspace is also used by the mutants.

mod confine;
pub mod grade;
pub mod grade_all;
mod handout;
pub mod new_directory;
mod pages;
pub mod proof;
pub mod similar;
pub mod start;
mod submissions;
pub mod variant;
pub mod workshop;
