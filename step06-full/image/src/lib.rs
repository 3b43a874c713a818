//! Images: from an archive or a registry to directories that step 5 stacks.
//!
//! An image is a stack of archives, the layers, with two small files that say
//! which they are and what to run. Everything in it is named by its digest, so
//! that it does not matter who hands it out: what was checked need not be
//! trusted. In the order in which an image passes them:
//!
//! - [`Reference`]: what somebody has typed;
//! - [`source`]: where the bytes come from, a directory, an archive, a registry;
//! - [`manifest`]: the small files; [`platform`]: for which machine;
//! - [`Digest`]: whether bytes are what they should be;
//! - [`Store`]: what was fetched and unpacked, once for all images;
//! - `apply`: a layer becomes a directory, on top of the layers below it;
//! - [`Config`](manifest::Config): what of the image the command gets.
//!
//! See the image specification of the Open Container Initiative,
//! <https://github.com/opencontainers/image-spec>.

mod apply;
mod digest;
mod in_container;
pub mod manifest;
mod pack;
pub mod platform;
mod reference;
mod size;
pub mod source;
mod store;

pub use apply::Limits;
pub use digest::Digest;
pub use reference::{Reference, Registry};
pub use size::sizes;
pub use store::{Image, Listener, News, Record, Store};
