//! Containers that stay, tried with the built program.

mod commit;
mod ends;
mod files;
mod logs;
mod names;
mod world;
