//! The two limits of ulimit(1) that the kernel enforces by a signal which says
//! nothing. Here they become errors that do.

use anyhow::anyhow;
use nix::sys::{
    resource::Resource,
    signal::{SigSet, SigmaskHow, Signal},
};

use crate::{errors::Advice, sys};

/// More stack than a step ever needs. That is 110 KiB where it was built without
/// optimisation, most of it for the command line; and in front of it the kernel
/// puts the arguments and the environment, up to a quarter of the limit.
const STACK_MIN: u64 = 256 * 1024;

/// Has both limits say what is wrong.
///
/// # Errors
/// This program could end by SIGSEGV, as its stack may not grow. See
/// getrlimit(2), `RLIMIT_STACK`.
pub(super) fn have_their_say() -> anyhow::Result<()> {
    let (stack, _) = sys::getrlimit(Resource::RLIMIT_STACK)?;
    if stack < STACK_MIN {
        let error = anyhow!("the stack may have no more than {stack} bytes");
        return Err(error.context(Advice::only("raise it: ulimit -s 8192")));
    }
    // A file that would become too large is then EFBIG. Blocked, not ignored: a
    // command is executed with nothing blocked, and would go on ignoring it. See
    // setrlimit(2), `RLIMIT_FSIZE`.
    let too_large = SigSet::from(Signal::SIGXFSZ);
    Ok(sys::signals::sigprocmask(
        SigmaskHow::SIG_BLOCK,
        &too_large,
    )?)
}
