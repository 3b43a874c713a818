//! System calls that no other crate wraps.

pub mod memfd;
pub mod xattr;
