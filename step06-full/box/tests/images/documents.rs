//! What is made of the command line: completions and manual pages.

use std::{fs, process::Command};

use harness::{Test, claims};

use crate::image::tool;

pub(crate) const TESTS: &[Test] =
    claims![bash_completes_a_command, each_command_has_a_manual_page,];

/// A shell reads them, and completes a word.
fn bash_completes_a_command() {
    let store = tempfile::tempdir().expect("a directory");
    let output = tool(store.path(), ["completions", "bash"]);
    assert!(output.status.success(), "{output:?}");
    let file = store.path().join("box.bash");
    fs::write(&file, output.stdout).expect("write");
    let script = r#". "$0"; COMP_WORDS=(box imag) COMP_CWORD=1
        _box box imag box; echo "${COMPREPLY[@]}""#;
    let bash = Command::new("bash")
        .args(["-c", script])
        .arg(&file)
        .output();
    let output = bash.expect("bash(1) is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "images");
}

fn each_command_has_a_manual_page() {
    let store = tempfile::tempdir().expect("a directory");
    let pages = store.path().join("man1");
    let output = tool(store.path(), ["manual", &pages.to_string_lossy()]);
    assert!(output.status.success(), "{output:?}");
    for command in ["box", "box-run", "box-pull", "box-images", "box-rmi"] {
        let page = fs::read_to_string(pages.join(format!("{command}.1")));
        let page = page.expect(command);
        assert!(page.contains(&format!(".TH {command} 1")), "{command}");
        assert!(page.contains(".SH OPTIONS"), "{command}");
    }
}
