//! What a reader is told by a kernel that refuses: the real call, the real
//! errno, and what to do.

use tests::{ALL, CGROUPS, Run, Test, host::cgroup_of, needs, programs, tests};

pub(crate) const TESTS: &[Test] =
    tests![without_clone3_each_step_runs, without_clone3_limits_hold];

/// Under a filter that refuses system calls, as Docker's default profile does.
fn filtered(run: Run, filter: &str) -> Run {
    let helper = programs::helper();
    let helper = helper.display();
    run.through(&format!("exec '{helper}' filtered {filter} \"$0\" \"$@\""))
}

fn without_clone3_each_step_runs() {
    for step in ALL {
        let run = filtered(step.run(), "clone3").sh("hostname");
        assert_eq!(run.ok(), "box", "{}", step.name);
    }
}

/// On cgroup v2 the process can't be born in its cgroup any more.
fn without_clone3_limits_hold() {
    needs::limits();
    for step in CGROUPS.and_later() {
        let run = filtered(step.run(), "clone3");
        let mut container = run.start_sh("echo ready; read _");
        container.wait_for("ready");
        let (cgroup, _) = cgroup_of(container.init(), "pids");
        let name = cgroup.file_name().expect("it is not the top");
        let name = name.to_string_lossy();
        assert!(name.starts_with("container-in-six-steps."), "{name}");
        container.finish().ok();
    }
    let run = CGROUPS.run().options(["--memory", "50m"]);
    let run = filtered(run, "clone3").sh("memhog 100M");
    assert_eq!((run.code, &*run.stdout), (137, "....."));
}
