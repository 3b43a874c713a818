//! Anybody may be at the same bus, and send what they like; and we may be where
//! systemd can't do what we want.

use std::{
    env,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use nix::unistd::geteuid;

use super::{
    super::{
        Scope,
        bus::{self, Bus},
        message, peer,
        wire::{Value, Writer},
    },
    METHOD, bus,
};

/// The number of a field, and what writes its variant.
type Field<'a> = (u8, &'a dyn Fn(&mut Writer));

/// What comes from the bus.
fn message(kind: u8, fields: &[Field], body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    for byte in [b'l', kind, 0, 1] {
        writer.byte(byte);
    }
    writer.short(u32::try_from(body.len()).expect("it is short"));
    writer.short(1);
    writer.array(8, |array| {
        for (number, value) in fields {
            array.align(8);
            array.byte(*number);
            value(array);
        }
    });
    writer.align(8);
    writer.bytes.extend(body);
    writer.bytes
}

fn replies_to(serial: u32) -> impl Fn(&mut Writer) {
    move |writer| {
        writer.signature("u");
        writer.short(serial);
    }
}

fn member(name: &str) -> impl Fn(&mut Writer) {
    move |writer| writer.variant(&Value::Text(name))
}

/// A number, and then a list of names with a variant each, in a structure.
fn unheard_of(writer: &mut Writer) {
    writer.signature("(ya{sv})");
    writer.align(8);
    writer.byte(1);
    writer.properties(&[("A", Value::Flag(true)), ("B", Value::Shorts(&[7]))]);
}

const OK: &str = "DATA\r\nOK 1\r\n";

#[test]
fn what_others_say_on_the_bus_is_no_matter() {
    let text = |text: &str| {
        let mut writer = Writer::default();
        writer.text(text);
        writer.bytes
    };
    let bytes = [
        message(message::ANSWER, &[(5, &replies_to(1))], b""),
        message(message::SIGNAL, &[(3, &member("A"))], &vec![0; 2 << 20]),
        message(message::SIGNAL, &[(3, &member(&"A".repeat(2 << 20)))], b"x"),
        message(message::SIGNAL, &[(3, &member("A"))], b""),
        message(message::SIGNAL, &[(3, &member("JobRemoved"))], &[0; 5000]),
        // Only the first byte tells that this is no answer.
        message(message::CALL, &[(5, &replies_to(2))], &text("not this")),
        message(message::SIGNAL, &[(3, &member("JobRemoved"))], &text("job")),
        message(
            message::ANSWER,
            &[(200, &unheard_of), (5, &replies_to(2))],
            &text("this"),
        ),
        message(message::SIGNAL, &[(3, &member("B"))], b""),
    ];
    let mut bus = bus(OK, bytes.concat()).expect("it lets us in");
    let answer = bus.call(&METHOD, "", Writer::default()).expect("one");
    assert_eq!(answer.body().text().expect("it is there"), "this");
    let signal = bus.signal().expect("one was kept");
    assert_eq!(signal.body().text().expect("it is there"), "job");
    bus.signal().expect_err("that was all");
}

/// A bus that never answers, and never is silent.
fn chatter(mut stream: UnixStream) -> std::io::Result<()> {
    let hello = message(message::ANSWER, &[(5, &replies_to(1))], b"");
    stream.write_all(OK.as_bytes())?;
    stream.write_all(&hello)?;
    let signal = message(message::SIGNAL, &[(3, &member("JobRemoved"))], b"");
    loop {
        stream.write_all(&signal)?;
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nobody_keeps_us_for_ever() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    thread::spawn(move || chatter(theirs));
    let mut bus = Bus::over(ours).expect("it lets us in");
    bus.patience = Duration::from_millis(100);
    let start = Instant::now();
    let error = bus.call(&METHOD, "", Writer::default());
    let error = format!("{:#}", error.expect_err("nobody answers"));
    assert!(error.contains("waiting for F: timed out"), "{error}");
    bus.wait();
    while bus.signal().is_ok() {}
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// Where this test is run a second time.
const BUS: &str = "STEP06_OCI_TEST_BUS";

#[test]
fn a_bus_in_another_pid_namespace_is_refused() {
    if let Some(path) = env::var_os(BUS) {
        let stream = UnixStream::connect(path).expect("it listens");
        let error = peer::expect_our_numbers(&stream).expect_err("refused");
        assert!(error.to_string().contains("PID namespace"), "{error}");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bus");
    let _bus = UnixListener::bind(&path).expect("it is ours");
    let stream = UnixStream::connect(&path).expect("it listens");
    peer::expect_our_numbers(&stream).expect("it is here");
    if !geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let name =
        "systemd::tests::hostile::a_bus_in_another_pid_namespace_is_refused";
    let inside = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .arg(env::current_exe().expect("it has a path"))
        .args(["--exact", name])
        .env(BUS, path)
        .output()
        .expect("there is an unshare");
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn who_may_not_enter_hears_where_to_start() {
    let refused = || {
        let call = "clone3({flags=0|CLONE_INTO_CGROUP, cgroup=3}, 88)";
        anyhow!("{call}: EACCES: Permission denied")
    };
    for (bus, error, is_explained) in [
        (bus::Kind::User, refused(), true),
        (bus::Kind::System, refused(), false),
        (bus::Kind::User, anyhow!("clone3({{}}, 88): EACCES"), false),
    ] {
        let unit = "a.scope".into();
        let error = format!("{:#}", Scope { unit, bus }.explain(error));
        let is = error.contains("systemd-run --user --scope step06-oci");
        assert_eq!(is, is_explained, "{error}");
    }
}
