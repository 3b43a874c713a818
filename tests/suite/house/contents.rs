//! What may stand in a `main.rs`: a table of contents.
//!
//! Ways to loop and to branch are many (`.for_each`, `.then`, `ensure!`, an
//! attribute's expression, a file that is included), so what is listed here is
//! what may be there. All else is refused, whatever it does.

use syn::{
    Attribute, Block, Expr, ExprClosure, ExprPath, File, Item, ItemFn, Local,
    Meta, Pat, Stmt,
    spanned::Spanned,
    visit::{self, Visit},
};

/// What `source`, a `main.rs`, has in it beyond a table of contents, each with
/// its line.
pub(super) fn refused(source: &str) -> Vec<String> {
    let file: File = syn::parse_str(source).expect("it compiles");
    let mut reader = Reader::default();
    reader.visit_file(&file);
    Attributes(&mut reader).visit_file(&file);
    reader.refused
}

#[derive(Default)]
struct Reader {
    /// The variables of the function that is read.
    variables: Vec<String>,
    refused: Vec<String>,
}

impl Reader {
    fn refuse(&mut self, what: &str, at: impl Spanned) {
        let line = at.span().start().line;
        self.refused.push(format!("{what}, line {line}"));
    }

    /// A statement's expression, or what a variable is set to: one call.
    fn read_call(&mut self, expr: &Expr) {
        match expr {
            Expr::Try(tried) => self.read_call(&tried.expr),
            Expr::Call(_) | Expr::MethodCall(_) => self.visit_expr(expr),
            _ => self.refuse("no call", expr),
        }
    }

    /// Whoever takes a function may call it more than once, or not at all: but
    /// for these.
    fn read_arguments<'a>(
        &mut self,
        callee: &str,
        arguments: impl Iterator<Item = &'a Expr>,
    ) {
        let takes_functions = ["new", "subcommand", "spawn"].contains(&callee);
        for argument in arguments {
            if let Expr::Path(path) = referred(argument)
                && !takes_functions
                && (!self.is_value(path) || path.path.is_ident(CONTAINER))
            {
                self.refuse("a function as an argument", argument);
            }
            self.visit_expr(argument);
        }
    }

    /// A variable, or a constant: its name says so.
    fn is_value(&self, path: &ExprPath) -> bool {
        let last = path.path.segments.last();
        let last = last.map(|it| it.ident.to_string()).unwrap_or_default();
        let is_variable =
            path.path.get_ident().is_some() && self.variables.contains(&last);
        is_variable || last == last.to_uppercase()
    }

    fn read_pattern(&mut self, pattern: &Pat) {
        match pattern {
            Pat::Ident(name) if name.subpat.is_none() => {
                self.variables.push(name.ident.to_string());
            }
            Pat::Type(typed) => self.read_pattern(&typed.pat),
            _ => self.refuse("a pattern", pattern),
        }
    }
}

/// The one closure: what the child does.
const CONTAINER: &str = "container";

/// The body, if it is that of a closure that only lists what to do.
fn listed(closure: &ExprClosure) -> Option<&Block> {
    match &*closure.body {
        Expr::Block(body) if closure.inputs.is_empty() => Some(&body.block),
        _ => None,
    }
}

fn referred(expr: &Expr) -> &Expr {
    match expr {
        Expr::Reference(it) => referred(&it.expr),
        _ => expr,
    }
}

/// A variable, or a field of one.
fn is_place(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) => true,
        Expr::Field(field) => is_place(&field.base),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(_) => {}
            Item::Struct(it) if it.ident == "Args" => {
                visit::visit_item_struct(self, it);
            }
            Item::Fn(it) if it.sig.ident == "main" || it.sig.ident == "run" => {
                self.visit_item_fn(it);
            }
            _ => self.refuse("an item", item),
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.variables.clear();
        visit::visit_item_fn(self, function);
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        self.read_pattern(pattern);
        visit::visit_pat(self, pattern);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        match statement {
            Stmt::Local(local) => self.visit_local(local),
            Stmt::Expr(Expr::Assign(it), _) if is_place(&it.left) => {
                self.read_call(&it.right);
            }
            Stmt::Expr(Expr::Binary(it), _)
                if matches!(it.op, syn::BinOp::BitOrAssign(_))
                    && is_place(&it.left)
                    && is_place(&it.right) => {}
            Stmt::Expr(expr, _) => self.read_call(expr),
            Stmt::Item(_) | Stmt::Macro(_) => {
                self.refuse("a statement", statement);
            }
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        self.visit_pat(&local.pat);
        let Some(init) = &local.init else {
            return self.refuse("a variable without a value", local);
        };
        if init.diverge.is_some() {
            self.refuse("else", local);
        }
        let is_container = matches!(&local.pat, Pat::Ident(name)
            if name.ident == CONTAINER);
        match &*init.expr {
            Expr::Closure(it) if is_container => match listed(it) {
                Some(body) => self.visit_block(body),
                None => self.refuse("a closure", it),
            },
            value => self.read_call(value),
        }
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Lit(_) => {}
            Expr::Path(_) => visit::visit_expr(self, expr),
            Expr::Field(_) if is_place(expr) => {}
            Expr::Reference(it) => self.visit_expr(&it.expr),
            Expr::Try(_) => self.read_call(expr),
            Expr::Call(call) => {
                let Expr::Path(function) = &*call.func else {
                    return self.refuse("a call of a value", expr);
                };
                if self.is_value(function) {
                    self.refuse("a call of a value", expr);
                }
                self.visit_expr_path(function);
                let name = function.path.segments.last();
                let name = name.map(|it| it.ident.to_string());
                let name = name.unwrap_or_default();
                self.read_arguments(&name, call.args.iter());
            }
            Expr::MethodCall(call) if is_place(&call.receiver) => {
                let name = call.method.to_string();
                self.read_arguments(&name, call.args.iter());
            }
            Expr::MethodCall(_) => self.refuse("a chain of calls", expr),
            // Nothing of something.
            Expr::Array(list) if list.elems.is_empty() => {}
            _ => self.refuse("an expression", expr),
        }
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.refuse("a macro", it);
    }
}

/// Looks at the attributes alone, wherever they are.
struct Attributes<'a>(&'a mut Reader);

impl<'ast> Visit<'ast> for Attributes<'_> {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let is = |name| attribute.path().is_ident(name);
        let allowed = match &attribute.meta {
            Meta::NameValue(it) => {
                is("doc") && matches!(it.value, Expr::Lit(_))
            }
            Meta::List(it) => {
                let named = is("derive") || is("arg") || is("command");
                named && it.tokens.clone().into_iter().all(is_a_setting)
            }
            Meta::Path(_) => false,
        };
        if !allowed {
            self.0.refuse("an attribute", attribute);
        }
    }
}

/// In an attribute: names, literals, and what stands between them. An `if` is
/// no name.
fn is_a_setting(token: proc_macro2::TokenTree) -> bool {
    use proc_macro2::TokenTree::{Group, Ident, Literal, Punct};
    match token {
        Ident(word) => syn::parse_str::<syn::Ident>(&word.to_string()).is_ok(),
        Punct(sign) => [',', '=', ':'].contains(&sign.as_char()),
        Literal(_) => true,
        Group(_) => false,
    }
}

pub(super) fn only_a_table_of_contents_may_stand_in_a_main() {
    let in_run = |line: &str| {
        format!("fn run(args: &Args, list: &List) -> R {{\n{line}\n}}")
    };
    for line in [
        "if a { b() }",
        "let a = if b { 1 } else { 2 };",
        "let Some(a) = b() else { return };",
        "match a { _ => {} }",
        "for a in b { }",
        "for Args { hostname, .. } in list { hostname() }",
        "while a { }",
        "loop { }",
        "let container = || { loop { } };",
        "let container = || if a { b() };",
        "let container = |list| { a() };",
        "let other = || { a() };",
        "println!(\"{}\", if a { 1 } else { 2 });",
        "ensure!(a(), \"b\");",
        "assert!(a());",
        "include!(\"other.rs\");",
        "a()? && b();",
        "a() || b();",
        "let a = b.c || d;",
        "let a = \"b\".is_empty() && true;",
        "a().then(|| b());",
        "args.flag.then(|| b());",
        "args.flag.then(b);",
        "args.flag.then(step::b);",
        "let flag = a(); flag.then(b);",
        "let items = list.iter(); items.for_each(step::b);",
        "list.for_each(drop);",
        "list.iter().for_each(|it| b(it));",
        "let container = || { a() }; list.for_each(container);",
        "let container = || { a() }; list.for_each(&container);",
        "let container = || { a() }; container();",
        "(args.function)(list);",
        "a([b(); 3]);",
        "a(b as usize);",
        "a(unsafe { b() });",
        "a({ b() });",
        "a(list[0]);",
        "a::<{ if b { 1 } else { 2 } }>();",
        "let a: [u8; if b { 1 } else { 2 }] = c();",
        "return a();",
        "fn helper() { }",
        "macro_rules! all { ($($a:ident)*) => { $($a();)* } }",
        "#[cfg(unix)] a();",
        "let f = step::b;",
        "list.for_each(&mut &step::b);",
    ] {
        let found = refused(&in_run(line));
        assert!(!found.is_empty(), "this passes: {line}");
    }
    for item in [
        "mod helper;",
        "mod helper { fn f() {} }",
        "fn helper() {}",
        "const A: u8 = if B { 1 } else { 2 };",
        "static A: u8 = 1;",
        "impl Args { fn f() {} }",
        "macro_rules! a { ($($b:tt)*) => { $($b)* } }",
        "include!(\"other.rs\");",
        "struct Other;",
        "#[path = \"x.rs\"] mod helper;",
        "struct Args { #[arg(default_value_t = if a { 1 } else { 2 })] b: u8 }",
        "struct Args { #[arg(default_value_t = { a() })] b: u8 }",
        "struct Args { #[arg(value_parser = |a: &str| b(a))] b: u8 }",
        "struct Args { #[arg(value_parser = a && b)] b: u8 }",
        "struct Args { #[doc = include_str!(\"x\")] b: u8 }",
        "struct Args { b: [u8; if a { 1 } else { 2 }] }",
        "struct Args { b: a!(c) }",
        "#[cfg_attr(unix, path = \"x\")] fn run() {}",
        "#![feature(x)]",
    ] {
        assert!(!refused(item).is_empty(), "this passes: {item}");
    }
    for line in [
        "let program = Program::new(run);",
        "let program = program.subcommand(\"diff\", step05_overlay::diff);",
        "process.flags |= CloneFlags::CLONE_NEWUTS;",
        "process.cgroup = cgroup.born_in();",
        "let mut layers = args.layers.find(&list)?;",
        "let container = || { a()?; b(list) }; process.spawn(container)?;",
        "a(&list, &step::KEPT, args.volumes.read_only, \"if\", 1)?;",
        "let list = list.started_by(stub::make()?);",
        "// if, for, a && b",
    ] {
        let found = refused(&in_run(line));
        assert!(found.is_empty(), "{line}: {found:?}");
    }
}
