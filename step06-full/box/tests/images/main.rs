//! What is done with images, tried with the built program.

mod image;
mod museum;
mod registry;
mod run;
mod server;
