//! More commands in a container, and terminals: tried with the built program.

#[path = "../life/world.rs"]
#[allow(dead_code, reason = "the tests of life use all of it")]
mod world;

mod commands;
mod confined;
mod killed;
mod spies;
mod terminals;
