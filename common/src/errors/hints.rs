//! What to do about the failures that readers meet: one table for all steps and
//! for the doctor, in rooms by what it is that fails.
//!
//! A row says which calls it is about, as errors print them, and with which
//! errno; some also under which circumstance, since an errno like `EPERM` has
//! many causes. What has a circumstance is looked at first: a row without one
//! says what is usual, or what it may be. Among equals the first one is taken.
//!
//! Each row has a witness: the test that meets it on a real kernel, or a source
//! for what no machine of ours can be made to do. The suite looks after that
//! (`tests/suite/hints.rs`). Some rows are for those who change a step, in a lab
//! for example: no step that is in order meets them.

use std::sync::Mutex;

use nix::errno::Errno;

use super::{Advice, Page, errno};

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// How the failed call begins, or the context around it, as the error
    /// prints it: one of these. What is behind a `*` comes somewhere later.
    pub calls: &'static [&'static str],
    /// One of these; none: whatever the errno is.
    pub errnos: &'static [Errno],
    /// Only if the machine is like this.
    pub when: Option<fn() -> bool>,
    /// What is behind it.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// Where the book explains it.
    pub page: Page,
    /// How it is known.
    pub witness: Witness,
}

/// Who has seen that a row is right.
#[derive(Clone, Copy, Debug)]
pub enum Witness {
    /// A test of the suite, as `module::name`.
    Test(&'static str),
    /// A man page, or where in the kernel's sources it is to be read.
    Source(&'static str),
}

/// Rows of the table, one after the other: calls, errno, circumstance => cause,
/// what to do, page, witness.
///
/// The errno is the name of one, several with `|` between them, or `any`. The
/// circumstance is a function, or `always`. The witness is `met by` a test, or
/// a `source`.
///
/// ```text
/// pub const HINTS: &[Row] = common::hints! {
///     ["mount("], EPERM | EACCES, always =>
///         "it is not allowed", "ask", STEP_3, source "mount(2)";
/// };
/// ```
#[macro_export]
macro_rules! hints {
    ($(
        $calls:expr, $($errno:ident)|+, $when:ident =>
            $cause:expr, $fix:expr, $page:expr, $($kind:ident)+ $witness:literal;
    )*) => {
        &[$($crate::errors::hints::Row {
            calls: &$calls,
            errnos: $crate::hints!(@errnos $($errno)|+),
            when: $crate::hints!(@when $when),
            cause: $cause,
            fix: $fix,
            page: $page,
            witness: $crate::hints!(@witness $($kind)+, $witness),
        }),*]
    };
    (@errnos any) => { &[] };
    (@errnos $($errno:ident)|+) => {
        &[$($crate::errors::hints::errnos::$errno),+]
    };
    (@when always) => { None };
    (@when $when:ident) => { Some($when) };
    (@witness met by, $test:literal) => {
        $crate::errors::hints::Witness::Test($test)
    };
    (@witness source, $source:literal) => {
        $crate::errors::hints::Witness::Source($source)
    };
}

// They are written by means of the macro, so they come after it.
mod user_namespaces;

mod processes;

mod sandboxes;

mod mounts;

mod overlay;

mod cgroups;

mod security;

mod image;

mod files;

#[cfg(test)]
mod tests;

/// The names that [`hints!`](crate::hints) looks an errno up by.
#[doc(hidden)]
pub mod errnos {
    pub use nix::errno::Errno::*;
}

/// The rooms. Their order matters where two rows fit that are of the same kind,
/// with a circumstance or without: the last room is about any path.
const TABLE: [&[Row]; 9] = [
    user_namespaces::ROWS,
    processes::ROWS,
    sandboxes::ROWS,
    mounts::ROWS,
    overlay::ROWS,
    cgroups::ROWS,
    security::ROWS,
    image::ROWS,
    files::ROWS,
];

/// What programs above the steps have brought along.
static BROUGHT_ALONG: Mutex<Vec<&[Row]>> = Mutex::new(Vec::new());

/// Adds `rows`, which are looked at before the others.
pub(crate) fn add(rows: &'static [Row]) {
    let mut tables = BROUGHT_ALONG.lock().unwrap_or_else(|it| it.into_inner());
    tables.push(rows);
}

/// The whole table, for whoever wants to know what is in it.
pub fn rows() -> Vec<&'static Row> {
    let tables = BROUGHT_ALONG.lock().unwrap_or_else(|it| it.into_inner());
    let all = tables.iter().chain(&TABLE);
    all.flat_map(|rows| rows.iter()).collect()
}

/// The advice for `error`, when one cause is usual.
pub fn find(error: &anyhow::Error) -> Option<Advice> {
    let errno = errno(error);
    let links: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut rows = rows();
    rows.retain(|row| row.is_about(&links, errno));
    let looked = rows.iter().find(|row| row.when.is_some_and(|when| when()));
    let usual = || rows.iter().find(|row| row.when.is_none());
    looked.or_else(usual).map(|row| row.advice())
}

impl Row {
    fn is_about(&self, links: &[String], errno: Option<Errno>) -> bool {
        let is_of = |call: &&str| {
            let (beginning, part) = call.split_once('*').unwrap_or((call, ""));
            links
                .iter()
                .any(|link| link.starts_with(beginning) && link.contains(part))
        };
        let has_errno = self.errnos.is_empty()
            || errno.is_some_and(|errno| self.errnos.contains(&errno));
        has_errno && self.calls.iter().any(is_of)
    }

    fn advice(&self) -> Advice {
        Advice {
            cause: self.cause.into(),
            fix: self.fix.into(),
            page: self.page.to_string(),
        }
    }
}
