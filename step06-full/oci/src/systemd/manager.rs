//! The object of systemd's that makes and ends units, and what it is asked here.
//! See org.freedesktop.systemd1(5), "The Manager Object".

use std::{thread::sleep, time::Duration};

use anyhow::{Context, bail};
use nix::unistd::Pid;

use super::{
    bus::{self, Bus, Refusal},
    message::{Message, Method},
    wire::{Value, Writer},
};

/// A connection to it.
pub(super) struct Manager(Bus);

const DESTINATION: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// How often, and how long in between, a name is tried that a unit has already.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a job is told by this signal to whoever wants to know.
const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',\
     path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

impl Manager {
    pub(super) fn connect(kind: bus::Kind) -> anyhow::Result<Manager> {
        let mut bus = Bus::connect(kind)?;
        let listen = Method {
            destination: "org.freedesktop.DBus",
            object: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "AddMatch",
        };
        let mut arguments = Writer::default();
        arguments.text(MATCH);
        bus.call(&listen, "s", arguments)?;
        Ok(Manager(bus))
    }

    fn call(
        &mut self,
        member: &str,
        signature: &str,
        arguments: Writer,
    ) -> anyhow::Result<Message> {
        let method = Method {
            destination: DESTINATION,
            object: OBJECT,
            interface: INTERFACE,
            member,
        };
        self.0.call(&method, signature, arguments)
    }

    /// Makes a scope that has the process `pid` in it.
    pub(super) fn start(
        &mut self,
        unit: &str,
        slice: &str,
        pid: Pid,
        numbers: &[(&str, u64)],
    ) -> anyhow::Result<()> {
        self.0.expect_our_numbers()?;
        let pids = [pid.as_raw().cast_unsigned()];
        let mut properties = vec![
            ("Description", Value::Text("a container of step06-oci")),
            ("Slice", Value::Text(slice)),
            ("PIDs", Value::Shorts(&pids)),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("CollectMode", Value::Text("inactive-or-failed")),
            // systemd's own would be less than what some bundles ask for.
            ("TasksMax", Value::Long(u64::MAX)),
        ];
        properties.extend(longs(numbers));
        for _ in 0..TRIES {
            match self.start_once(unit, &properties) {
                Err(error) if is_called(&error, "UnitExists") => {}
                started => return started,
            }
            self.clear(unit)?;
            sleep(PAUSE);
        }
        self.start_once(unit, &properties)
    }

    fn start_once(
        &mut self,
        unit: &str,
        properties: &[(&str, Value)],
    ) -> anyhow::Result<()> {
        let mut arguments = Writer::default();
        arguments.text(unit);
        // If a job for this unit waits, this one takes its place.
        arguments.text("replace");
        arguments.properties(properties);
        // Further units, of which there are none.
        arguments.array(8, |_| {});
        let answer =
            self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)?;
        match self.result(&answer)?.as_str() {
            "done" => Ok(()),
            result => bail!(
                "its job ends as {result:?}; journalctl --unit {unit} says \
                 why, with --user where it is a user's own systemd"
            ),
        }
    }

    /// Takes the name from a unit that has failed, or has no processes: nobody
    /// needs it. Some systemds keep the scope of a process that has ended before
    /// it was in there.
    pub(super) fn clear(&mut self, unit: &str) -> anyhow::Result<()> {
        let mut arguments = Writer::default();
        arguments.text(unit);
        let in_bytes = match self.call("GetUnitProcesses", "s", arguments) {
            Err(error) if is_called(&error, "NoSuchUnit") => return Ok(()),
            answer => answer?.body().short()?,
        };
        if in_bytes == 0 {
            self.stop(unit)?;
        }
        self.reset(unit)
    }

    /// Changes properties of the unit, until it ends.
    pub(super) fn set(
        &mut self,
        unit: &str,
        numbers: &[(&str, u64)],
    ) -> anyhow::Result<()> {
        let mut arguments = Writer::default();
        arguments.text(unit);
        let at_runtime_only = 1;
        arguments.short(at_runtime_only);
        let properties: Vec<_> = longs(numbers).collect();
        arguments.properties(&properties);
        self.call("SetUnitProperties", "sba(sv)", arguments)
            .map(drop)
    }

    pub(super) fn stop(&mut self, unit: &str) -> anyhow::Result<()> {
        let mut arguments = Writer::default();
        arguments.text(unit);
        arguments.text("replace");
        match self.call("StopUnit", "ss", arguments) {
            Err(error) if is_called(&error, "NoSuchUnit") => Ok(()),
            answer => self.result(&answer?).map(drop),
        }
    }

    /// Has systemd forget that the unit has failed.
    pub(super) fn reset(&mut self, unit: &str) -> anyhow::Result<()> {
        let mut arguments = Writer::default();
        arguments.text(unit);
        match self.call("ResetFailedUnit", "s", arguments) {
            Err(error) if is_called(&error, "NoSuchUnit") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Waits until the job of that answer is done, and returns how it has ended.
    fn result(&mut self, answer: &Message) -> anyhow::Result<String> {
        let job = answer.body().text()?;
        self.0.wait();
        loop {
            let signal = self.0.signal().context("waiting for a job")?;
            // Anybody may send us a signal that is called so.
            if signal.sender != answer.sender {
                continue;
            }
            let mut body = signal.body();
            body.short()?;
            let its_job = body.text()?;
            body.text()?;
            if its_job == job {
                return Ok(body.text()?.to_owned());
            }
        }
    }
}

fn longs<'a>(
    numbers: &[(&'a str, u64)],
) -> impl Iterator<Item = (&'a str, Value<'a>)> {
    let numbers = numbers.iter();
    numbers.map(|(name, number)| (*name, Value::Long(*number)))
}

fn is_called(error: &anyhow::Error, name: &str) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    let name = format!("{DESTINATION}.{name}");
    refusal.is_some_and(|refusal| refusal.name == name)
}
