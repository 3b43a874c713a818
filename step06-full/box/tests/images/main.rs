//! What is done with images, tried with the built program.

mod documents;
mod image;
mod museum;
mod registry;
mod run;
mod said;
mod server;
