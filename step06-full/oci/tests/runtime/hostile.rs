//! A bundle is hostile: who has made the root has made each link in it.

use std::{fs, os::unix::fs::symlink, path::Path};

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    a_link_leads_no_mount_out_of_the_root,
    a_link_leads_no_device_out_of_the_root,
    a_link_hides_nothing_from_the_mask,
    a_link_takes_nothing_for_proc,
    the_root_is_not_masked_in_vain,
    no_working_directory_is_outside,
    a_script_gets_no_hold_of_the_runtime,
    number_1_holds_nothing_of_the_host,
    the_host_is_unchanged,
    a_pipe_for_the_list_of_users_is_no_trap,
    what_is_not_removed_is_not_called_so,
];

/// A directory of the host that nothing must get into.
fn victim() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory)
        .expect("it is there")
        .next()
        .is_none()
}

fn a_link_leads_no_mount_out_of_the_root() {
    needs::root();
    let victim = victim();
    let host = victim.path().display().to_string();
    for target in [host.clone(), format!("../../../../..{host}")] {
        let mut bundle = Bundle::new("mount 2>/dev/null | grep -c /lead; true");
        symlink(&target, bundle.root().join("lead")).expect("it is ours");
        bundle.push(
            "/mounts",
            json!({"destination": "/lead/new",
            "type": "tmpfs", "source": "tmpfs"}),
        );
        bundle.push(
            "/mounts",
            json!({"destination": "/lead/etc",
            "type": "bind", "source": "/etc", "options": ["bind"]}),
        );
        bundle.exits();
        assert!(is_empty(victim.path()), "{target}");
    }
    // To the root itself is nowhere, either.
    let mut bundle = Bundle::new("true");
    symlink("/", bundle.root().join("lead")).expect("it is ours");
    bundle.push(
        "/mounts",
        json!({"destination": "/lead", "type": "tmpfs",
        "source": "tmpfs"}),
    );
    bundle.is_refused();
}

fn a_link_leads_no_device_out_of_the_root() {
    needs::root();
    let victim = victim();
    let mut bundle = Bundle::new("true");
    let mounts = bundle.config["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| mount["type"] == "proc");
    let _ = fs::remove_dir_all(bundle.root().join("dev"));
    symlink(victim.path(), bundle.root().join("dev")).expect("it is ours");
    bundle.config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c",
        "major": 1, "minor": 3}]);
    bundle.exits();
    assert!(is_empty(victim.path()));
}

fn a_link_hides_nothing_from_the_mask() {
    needs::root();
    let mut bundle = Bundle::new("cat /real; echo end");
    fs::write(bundle.root().join("real"), "secret").expect("it is ours");
    symlink("/real", bundle.root().join("shown")).expect("it is ours");
    bundle.config["linux"]["maskedPaths"] = json!(["/shown"]);
    assert_eq!(bundle.says(), "end");
    // Of the host's file nothing is covered.
    let victim = victim();
    let file = victim.path().join("file");
    fs::write(&file, "kept").expect("it is ours");
    let mut bundle = Bundle::new("echo end");
    symlink(&file, bundle.root().join("shown")).expect("it is ours");
    bundle.config["linux"]["maskedPaths"] = json!(["/shown"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/shown"]);
    assert_eq!(bundle.says(), "end");
    fs::write(&file, "kept, and can be written to").expect("it is ours");
}

fn a_link_takes_nothing_for_proc() {
    needs::root();
    let bundle = Bundle::new("true");
    let proc = bundle.root().join("proc");
    let _ = fs::remove_dir_all(&proc);
    fs::create_dir(bundle.root().join("fake")).expect("it is ours");
    symlink("/fake", proc).expect("it is ours");
    let why = bundle.is_refused();
    assert!(why.contains("a link in the image"), "{why}");
}

/// What covers it would be left behind with the old root.
fn the_root_is_not_masked_in_vain() {
    needs::root();
    for path in ["/", "/..", "/proc/..", "/lead"] {
        for list in ["maskedPaths", "readonlyPaths"] {
            let mut bundle = Bundle::new("true");
            symlink("/", bundle.root().join("lead")).expect("it is ours");
            bundle.config["linux"][list] = json!([path]);
            let why = bundle.is_refused();
            assert!(why.contains("no place below"), "{path}: {why}");
        }
    }
}

fn no_working_directory_is_outside() {
    needs::root();
    for number in 3..16 {
        let mut bundle = Bundle::new("pwd; ls");
        let cwd = format!("/proc/self/fd/{number}");
        bundle.config["process"]["cwd"] = json!(cwd);
        let output = {
            let path = bundle.path().join("config.json");
            fs::write(path, bundle.config.to_string()).expect("it is ours");
            bundle.tool(&["run", "box"])
        };
        let said = crate::bundle::text(&output.stdout);
        assert!(!output.status.success(), "{cwd}: {said}");
    }
    // A link in the image leads where the image says, and no further.
    let mut bundle = Bundle::new("pwd -P");
    symlink("/etc", bundle.root().join("there")).expect("it is ours");
    bundle.config["process"]["cwd"] = json!("/there");
    assert_eq!(bundle.says(), "/etc");
}

/// CVE-2019-5736: while a script runs, `/proc/self/exe` is its caller's.
fn a_script_gets_no_hold_of_the_runtime() {
    needs::root();
    let mut bundle = Bundle::new("");
    let script = bundle.root().join("script");
    fs::write(&script, "#!/proc/self/exe --version\n").expect("it is ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("it is ours");
    bundle.config["process"]["args"] = json!(["/script"]);
    let path = bundle.path().join("config.json");
    fs::write(path, bundle.config.to_string()).expect("it is ours");
    let output = bundle.tool(&["run", "box"]);
    let said = crate::bundle::text(&output.stdout);
    assert!(!said.contains("step06-oci"), "{output:?}");
    let bundle = Bundle::new("sleep 60");
    bundle.create();
    bundle.does(&["start", "box"]);
    let output = bundle.tool(&["exec", "box", "/script"]);
    let said = crate::bundle::text(&output.stdout);
    assert!(!said.contains("step06-oci"), "{output:?}");
}

fn number_1_holds_nothing_of_the_host() {
    needs::root();
    let bundle = Bundle::new("sleep 60");
    bundle.create();
    let pid = bundle.pid();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    for entry in descriptors.expect("it waits") {
        let entry = entry.expect("it waits");
        let number: u32 = entry
            .file_name()
            .to_str()
            .expect("text")
            .parse()
            .expect("it");
        let leads = fs::read_link(entry.path()).expect("it waits");
        let leads = leads.display().to_string();
        // The gate, the talk that is over, and the stub.
        let is_ours =
            leads.starts_with("socket:") || leads.starts_with("/memfd:stub");
        assert!(number < 3 || is_ours, "{number} {leads}");
    }
}

fn the_host_is_unchanged() {
    needs::root();
    let mounts = || {
        let text = fs::read_to_string("/proc/self/mountinfo");
        text.expect("it is there").lines().count()
    };
    let before = mounts();
    let bundle = Bundle::new("echo x > /dev/null");
    bundle.says();
    assert_eq!(mounts(), before);
    let null = fs::metadata("/dev/null").expect("it is there");
    let mode = std::os::unix::fs::PermissionsExt::mode(&null.permissions());
    assert_eq!(mode & 0o7777, 0o666);
}

/// Nobody would ever write to it.
fn a_pipe_for_the_list_of_users_is_no_trap() {
    needs::root();
    let bundle = Bundle::new("echo $HOME");
    let users = bundle.root().join("etc/passwd");
    fs::remove_file(&users).expect("it is ours");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
    nix::unistd::mkfifo(&users, mode).expect("it is ours");
    assert_eq!(bundle.says(), "/");
}

/// A hook of the start that hangs holds the lock, for example.
fn what_is_not_removed_is_not_called_so() {
    let bundle = Bundle::new("true");
    let state = bundle.path().join("state");
    fs::create_dir_all(state.join("box")).expect("it is ours");
    let held = fs::File::open(state.join("box")).expect("it is ours");
    held.lock().expect("it is free");
    let why = bundle.fails(&["delete", "--force", "box"]);
    assert!(why.contains("is at work"), "{why}");
    drop(held);
    bundle.does(&["delete", "--force", "box"]);
    assert!(!state.join("box").exists());
    // What never was is no error, and what can't be is one.
    bundle.does(&["delete", "--force", "box"]);
    bundle.fails(&["delete", "--force", "../box"]);
}
