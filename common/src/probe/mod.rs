//! stub
use std::{convert::Infallible, ffi::CString, process::ExitCode};

use crate::Workload;

#[derive(Clone)]
pub(crate) struct Agent;
impl Agent {
    pub(crate) fn run(&self, _: &[CString]) -> anyhow::Result<Infallible> {
        todo!()
    }
}
pub(crate) fn row_to_try() -> Option<ExitCode> {
    None
}
pub(crate) fn main(
    run: impl Fn(&Workload) -> anyhow::Result<ExitCode>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let _ = json;
    run(&Workload::probe(Agent))
}
