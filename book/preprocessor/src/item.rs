//! Finds an item of a Rust source by its name, so that the sources need no
//! marks for the book.

use std::ops::Range;

use anyhow::{Context, bail};
use proc_macro2::Span;
use syn::{Attribute, ImplItem, Item, TraitItem, spanned::Spanned};

/// Where an item stands.
pub(crate) struct Found {
    /// Its lines, with its attributes and its documentation.
    pub(crate) lines: Range<usize>,
    /// The lines of its documentation.
    pub(crate) docs: Vec<Range<usize>>,
}

/// The item `name` of a source file: a function, constant, type, trait or
/// macro; `Type::method` is one of an `impl`.
pub(crate) fn find(source: &str, name: &str) -> anyhow::Result<Found> {
    let file = syn::parse_file(source).context("it is no Rust")?;
    let mut found = Vec::new();
    search(&file.items, name, &mut found);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("there is no item {name}"),
        count => bail!("there are {count} items {name}"),
    }
}

fn search(items: &[Item], name: &str, found: &mut Vec<Found>) {
    for item in items {
        let (its_name, attributes) = match item {
            Item::Fn(it) => (it.sig.ident.to_string(), &it.attrs),
            Item::Const(it) => (it.ident.to_string(), &it.attrs),
            Item::Static(it) => (it.ident.to_string(), &it.attrs),
            Item::Struct(it) => (it.ident.to_string(), &it.attrs),
            Item::Enum(it) => (it.ident.to_string(), &it.attrs),
            Item::Union(it) => (it.ident.to_string(), &it.attrs),
            Item::Type(it) => (it.ident.to_string(), &it.attrs),
            Item::Mod(it) => {
                if let Some((_, items)) = &it.content {
                    search(items, name, found);
                }
                continue;
            }
            Item::Macro(it) => match &it.ident {
                Some(ident) => (ident.to_string(), &it.attrs),
                None => continue,
            },
            Item::Trait(it) => {
                search_trait(it, name, found);
                (it.ident.to_string(), &it.attrs)
            }
            Item::Impl(it) => {
                search_impl(it, name, found);
                continue;
            }
            _ => continue,
        };
        if its_name == name {
            found.push(place(item.span(), attributes));
        }
    }
}

fn search_impl(block: &syn::ItemImpl, name: &str, found: &mut Vec<Found>) {
    let syn::Type::Path(of) = &*block.self_ty else {
        return;
    };
    let Some(of) = of.path.segments.last() else {
        return;
    };
    for item in &block.items {
        let (its_name, attributes) = match item {
            ImplItem::Fn(it) => (&it.sig.ident, &it.attrs),
            ImplItem::Const(it) => (&it.ident, &it.attrs),
            _ => continue,
        };
        if format!("{}::{its_name}", of.ident) == name {
            found.push(place(item.span(), attributes));
        }
    }
}

fn search_trait(block: &syn::ItemTrait, name: &str, found: &mut Vec<Found>) {
    for item in &block.items {
        if let TraitItem::Fn(it) = item
            && format!("{}::{}", block.ident, it.sig.ident) == name
        {
            found.push(place(item.span(), &it.attrs));
        }
    }
}

fn place(span: Span, attributes: &[Attribute]) -> Found {
    let docs = attributes.iter().filter(|it| it.path().is_ident("doc"));
    Found {
        lines: lines(span),
        docs: docs.map(|it| lines(it.span())).collect(),
    }
}

/// The lines of a span, from 0.
fn lines(span: Span) -> Range<usize> {
    span.start().line - 1..span.end().line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
//! A crate.

/// A limit.
const LIMIT: usize = 1;

/// A thing.
#[derive(Debug)]
struct Thing;

impl Thing {
    /// Makes one.
    fn new() -> Thing {
        Thing
    }
}
";

    #[test]
    fn an_item_comes_with_its_documentation() {
        let thing = find(SOURCE, "Thing").unwrap();
        assert_eq!((thing.lines, thing.docs.len()), (5..8, 1));
        assert_eq!(find(SOURCE, "LIMIT").unwrap().lines, 2..4);
        assert_eq!(find(SOURCE, "Thing::new").unwrap().lines, 10..14);
        assert!(find(SOURCE, "new").is_err());
    }
}
