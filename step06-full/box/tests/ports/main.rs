//! Published ports, tried with the built program in networks that are made for a
//! test: this machine's own has nothing to do with them.

use std::{env, panic, process::ExitCode};

use harness::{Test, trial};
use libtest_mimic::Arguments;

mod confined;
mod container;
mod datagrams;
mod dnat;
mod lab;
mod lifetime;
mod reach;
mod real_servers;
mod refusals;
mod server;
mod streams;

const TESTS: &[&[Test]] = &[
    reach::TESTS,
    dnat::TESTS,
    streams::TESTS,
    datagrams::TESTS,
    refusals::TESTS,
    confined::TESTS,
    real_servers::TESTS,
    lifetime::TESTS,
];

fn main() -> ExitCode {
    // In a container this program is the server.
    let arguments: Vec<String> = env::args().collect();
    if let [_, word, address] = &arguments[..]
        && word == server::WORD
    {
        server::serve(address);
    }
    // Much of a test runs in threads of its own, each in another network.
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let tests = TESTS.concat().into_iter().map(trial::of_test);
    trial::conclude(&Arguments::from_args(), tests.collect())
}
