//! Going past values that mean nothing to us.
//!
//! A header may have fields that nobody knew when this was written, of any type,
//! and they are to be ignored. But where the next one begins tells only the type
//! of this one.

use anyhow::{Context, bail, ensure};

use super::wire::Reader;

/// How many variants, each in another one, and structures there may be. See
/// "Valid Signatures" in the D-Bus specification.
const DEEPEST: usize = 64;

impl Reader<'_> {
    /// Goes past a variant.
    pub(super) fn skip_variant(&mut self) -> anyhow::Result<()> {
        self.skip_variant_within(DEEPEST)
    }

    fn skip_variant_within(&mut self, depth: usize) -> anyhow::Result<()> {
        let types = self.signature()?;
        self.skip_all(types.as_bytes(), depth)
    }

    /// Goes past a value of each of these types.
    fn skip_all(
        &mut self,
        mut types: &[u8],
        depth: usize,
    ) -> anyhow::Result<()> {
        ensure!(depth > 0, "a message of D-Bus is too deep");
        while !types.is_empty() {
            let (first, rest) = types
                .split_at_checked(length_of_first(types)?)
                .context("a type of D-Bus ends too early")?;
            self.skip_one(first, depth - 1)?;
            types = rest;
        }
        Ok(())
    }

    fn skip_one(&mut self, kind: &[u8], depth: usize) -> anyhow::Result<()> {
        match kind {
            [b's' | b'o'] => self.text().map(drop),
            [b'g'] => self.signature().map(drop),
            [b'v'] => self.skip_variant_within(depth),
            [b'a', element, ..] => {
                let length = self.short()?;
                self.align(alignment(*element)?);
                self.take(length as usize).map(drop)
            }
            [b'(' | b'{', inner @ .., _] => {
                self.align(8);
                self.skip_all(inner, depth)
            }
            // What is left has the size that it is aligned to.
            [number] => {
                let size = alignment(*number)?;
                self.align(size);
                self.take(size).map(drop)
            }
            _ => bail!("D-Bus: what type is {kind:?}?"),
        }
    }
}

/// How many letters the first of these types has.
fn length_of_first(types: &[u8]) -> anyhow::Result<usize> {
    let arrays = types.iter().take_while(|it| **it == b'a').count();
    let mut open = 0;
    for (at, letter) in types.iter().enumerate().skip(arrays) {
        match letter {
            b'(' | b'{' => open += 1,
            b')' | b'}' if open > 0 => open -= 1,
            _ => {}
        }
        // An array in a structure belongs to what comes behind it, and both to
        // the structure.
        if open == 0 {
            return Ok(at + 1);
        }
    }
    bail!("a type of D-Bus ends too early")
}

/// At a multiple of what a value begins.
fn alignment(kind: u8) -> anyhow::Result<usize> {
    Ok(match kind {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        other => bail!("D-Bus: what type is {:?}?", char::from(other)),
    })
}
