//! What those who share a terminal say to each other.

/// The word with which the master of a terminal comes, for who is alone with
/// it: what is printed is read from it.
pub(crate) const ALONE: &[u8] = b"m";

/// The same for who is one of several: what is printed comes behind the word.
pub(crate) const SHARED: &[u8] = b"o";

/// What somebody sends who lets go on purpose.
pub(crate) const DETACHED: u8 = b'd';

/// Why somebody does not look any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing more comes.
    End = 0,
    /// Its keys were pressed.
    Detached = 3,
    /// The keyboard is gone, or a signal has come.
    HungUp = 4,
}
