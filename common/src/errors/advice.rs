//! What to do about a failure, and where it is explained.

use std::fmt;

/// What is behind a failure, what to do about it, and where to read on.
///
/// The table of [hints](super::hints) has it for the failures that are known
/// by their call. Who knows more attaches it to an error, as the outermost
/// context; it is then printed in place of what the table says.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What is behind it; empty where the message itself says that.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
    /// The page of the book that explains it, as [`Page`] prints it; empty
    /// where none does.
    pub page: String,
}

impl Advice {
    /// What to do about a message that says everything else.
    pub fn only(fix: impl Into<String>) -> Advice {
        Advice {
            cause: String::new(),
            fix: fix.into(),
            page: String::new(),
        }
    }

    /// The lines that are printed below the message.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  hint: {self}")];
        if !self.page.is_empty() {
            lines.push(format!("  read: {}", self.page));
        }
        lines
    }
}

/// Also the text of a link in the chain of an error. It is not printed there.
impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause.as_str() {
            "" => f.write_str(&self.fix),
            cause => write!(f, "{cause}: {}", self.fix),
        }
    }
}

/// A page of the book, by its title, which can be looked for, and by the file
/// that `mdbook build book` makes of it, as `mdbook serve book` does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    /// As in the book's table of contents.
    pub title: &'static str,
    /// Where it is in the book, without `.html`.
    pub path: &'static str,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (target/book/{}.html)", self.title, self.path)
    }
}

/// The pages that explain failures.
pub mod pages {
    use super::Page;

    /// A constant for each of them.
    macro_rules! pages {
        ($($name:ident: $title:literal, $path:literal;)*) => {
            $(
                #[doc = $title]
                pub const $name: Page = Page { title: $title, path: $path };
            )*
        };
    }

    pages! {
        LINUX: "Linux", "setting-up/linux";
        CONTAINERS: "Inside a container", "setting-up/containers";
        LAB_MACHINES: "Lab machines", "setting-up/lab-machines";
        WSL: "WSL 2", "setting-up/wsl2";
        STEP_1: "Step 1: a host name of its own", "step01-uts";
        STEP_2: "Step 2: process numbers of its own", "step02-pid";
        STEP_3: "Step 3: a file system of its own", "step03-mount";
        STEP_4: "Step 4: limits", "step04-cgroups";
        STEP_5: "Step 5: an image that stays as it is", "step05-overlay";
        USER: "Step 6a: user namespaces", "step06-full/user";
        NAMESPACES: "Step 6b: network, IPC and cgroup namespaces", "step06-full/namespaces";
        DEVICES: "Step 6c: devices, kernel files and volumes", "step06-full/devices";
        LANDLOCK: "Step 6d, the second line: Landlock", "step06-full/landlock";
        SECCOMP: "Step 6e: seccomp", "step06-full/seccomp";
        CGROUPS: "Cgroups, version 1 and version 2", "cgroup-versions";
        TROUBLESHOOTING: "Troubleshooting", "troubleshooting";
    }
}
