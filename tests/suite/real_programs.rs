//! The programs that people run, in a root file system of Debian.
//!
//! It takes minutes to make and a gigabyte to keep, so that `cargo test` goes
//! without: rows of the matrix have it. See tests/debian/make.

use harness::{FULL, Run, Test, claims, needs};

pub(crate) const TESTS: &[Test] = claims![
    apt_without_a_network_fails_and_says_so,
    gcc_makes_a_program_that_runs,
    python_has_children_workers_and_a_database,
    java_runs,
    java_sizes_its_heap_by_the_memory_limit,
    node_has_threads_and_children,
    postgres_serves_as_a_user_of_its_own,
    redis_serves,
    nginx_logs_to_standard_output,
    a_job_of_cron_runs_but_cannot_write_to_number_1,
    su_and_runuser_become_another_user,
    sudo_says_that_it_may_not,
    the_own_name_resolves,
    tar_keeps_all_owners,
];

/// A container of Debian with room for a server, where limits can be set.
fn debian() -> Run {
    with_memory("1g")
}

fn with_memory(limit: &str) -> Run {
    let run = FULL.run().rootfs(&needs::debian());
    match needs::why_no_limits() {
        Some(_) => run,
        None => run
            .options(["--memory", limit, "--cpus", "2"])
            .options(["--pids-limit", "256"]),
    }
}

/// No name can be resolved. It must not be waited for.
fn apt_without_a_network_fails_and_says_so() {
    for command in ["update", "install --download-only --yes hello"] {
        let apt = format!(
            "apt-get -o Acquire::Retries=0 -o APT::Update::Error-Mode=any \
             {command}"
        );
        let run = debian().sh(&apt);
        assert_eq!(run.code, 100, "{run}");
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("Temporary failure resolving"), "{run}");
    }
}

fn gcc_makes_a_program_that_runs() {
    let script = r#"
        cd /tmp
        echo '#include <stdio.h>' >hello.c
        echo 'int main(void) { return puts("hello") < 0; }' >>hello.c
        gcc -o hello hello.c && ./hello"#;
    assert_eq!(debian().sh(script).ok(), "hello");
}

/// The workers share a semaphore in /dev/shm.
fn python_has_children_workers_and_a_database() {
    let script = r#"
import multiprocessing, sqlite3, subprocess
print(subprocess.check_output(["id", "-un"], text=True).strip())
with multiprocessing.Pool(3) as pool:
    print(sum(pool.map(abs, range(100))))
with sqlite3.connect("/tmp/database") as database:
    database.execute("create table numbers (n)")
    database.execute("insert into numbers values (42)")
    print(database.execute("select n from numbers").fetchone()[0])"#;
    let run = debian().command(["python3", "-c", script]);
    assert_eq!(run.ok(), "root\n4950\n42");
}

/// keytool(1) is a program in Java, which finds a file, a random number and the
/// time.
fn java_runs() {
    let script = "keytool -genkeypair -keyalg EC -alias a -dname CN=a \
                  -storepass secret -keystore /tmp/keys 2>/dev/null && \
                  keytool -list -storepass secret -keystore /tmp/keys";
    let run = debian().sh(script);
    assert!(run.ok().contains("PrivateKeyEntry"), "{run}");
}

/// It reads the limit in the files of its cgroup, and takes a quarter of it; half
/// if that is little.
fn java_sizes_its_heap_by_the_memory_limit() {
    needs::limits();
    for (limit, heap) in [("256m", 128.0), ("1g", 256.0)] {
        let show = ["java", "-XshowSettings:vm", "-version"];
        let run = with_memory(limit).command(show);
        run.ok();
        let line = run.stderr.lines().find(|line| line.contains("Max. Heap"));
        let size = line.and_then(|line| line.rsplit(' ').next());
        let size = size.and_then(|size| size.strip_suffix('M'));
        let size: f64 = size.and_then(|it| it.parse().ok()).unwrap_or(1e9);
        assert!(size <= heap, "{limit}: {line:?}");
    }
}

fn node_has_threads_and_children() {
    let script = r#"
        const { Worker } = require("worker_threads");
        const { execSync } = require("child_process");
        console.log(execSync("id -un").toString().trim());
        const answer = 'require("worker_threads").parentPort.postMessage(42)';
        new Worker(answer, { eval: true }).on("message", console.log);"#;
    let run = debian().command(["node", "-e", script]);
    assert_eq!(run.ok(), "root\n42");
}

/// It refuses to run as root, and uses shared memory, semaphores, a socket and
/// the sync calls.
fn postgres_serves_as_a_user_of_its_own() {
    let script = r#"
        exec 2>&1
        PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
        initdb -D /tmp/data >/tmp/said || cat /tmp/said
        pg_ctl -D /tmp/data -w -o '-k /tmp' start >/tmp/said || cat /tmp/said
        psql -h /tmp -Atc 'select current_user, 6 * 7' postgres
        pg_ctl -D /tmp/data -m fast stop"#;
    let run = debian().command(["su", "postgres", "-c", script]);
    assert!(run.ok().contains("postgres|42\n"), "{run}");
    assert!(run.stdout.ends_with("server stopped\n"), "{run}");
}

fn redis_serves() {
    let script = "redis-server --port 0 --unixsocket /tmp/redis --dir /tmp \
                  >/tmp/log & \
                  while kill -0 $! && [ ! -S /tmp/redis ]; do sleep .1; done; \
                  redis-cli -s /tmp/redis set answer 42 && \
                  redis-cli -s /tmp/redis get answer && \
                  redis-cli -s /tmp/redis shutdown; wait";
    assert_eq!(debian().sh(script).ok(), "OK\n42");
}

/// As in its official image: the logs are links to /dev/stdout and /dev/stderr.
/// Those are pipes, as they are when somebody collects the output.
fn nginx_logs_to_standard_output() {
    let script = "ln -sf /dev/stdout /var/log/nginx/access.log; \
                  ln -sf /dev/stderr /var/log/nginx/error.log; \
                  nginx -g 'daemon off; error_log /var/log/nginx/error.log \
                  notice;' & \
                  while kill -0 $! && \
                  ! curl -s -A somebody -o /tmp/page http://127.0.0.1/; \
                  do sleep .1; done; \
                  grep -o '<title>.*</title>' /tmp/page; \
                  kill -QUIT $!; wait";
    let run = debian().redirected("2>&1 | cat").sh(script);
    let lines = run.lines();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has("<title>Welcome to nginx!</title>"), "the page: {run}");
    assert!(has("\"GET / HTTP/1.1\" 200"), "the access log: {run}");
    assert!(has("[notice]"), "the error log: {run}");
}

/// In images of others the jobs write there, for the command is number 1. Here
/// number 1 is a program of the host, and what it has is closed to all. The
/// book says so.
fn a_job_of_cron_runs_but_cannot_write_to_number_1() {
    let script = "echo '@reboot { id -u; echo hello >/proc/1/fd/1; } \
                  >/tmp/said 2>&1; echo $? >/tmp/end' | crontab - && cron; \
                  for i in $(seq 100); do \
                  [ -s /tmp/end ] && break; sleep .1; done; \
                  cat /tmp/said /tmp/end";
    let run = debian().sh(script);
    let lines = run.lines();
    assert_eq!(lines.first(), Some(&"0"), "{run}");
    assert!(
        run.ok().contains("/proc/1/fd/1: Permission denied"),
        "{run}"
    );
    assert_ne!(lines.last(), Some(&"0"), "{run}");
}

/// Both may be used by root, who needs no password and no set-uid bit for it.
fn su_and_runuser_become_another_user() {
    let all = "id -un; id -gn; id -Gn; echo $HOME";
    let expected = "postgres\npostgres\npostgres ssl-cert\n/var/lib/postgresql";
    let su = debian().command(["su", "-", "postgres", "-c", all]);
    assert_eq!(su.ok(), expected);
    let runuser = ["runuser", "-l", "postgres", "-c", all];
    assert_eq!(debian().command(runuser).ok(), expected);
}

/// By `no_new_privs` a set-uid program gains nothing. Root needs nothing.
fn sudo_says_that_it_may_not() {
    assert_eq!(debian().command(["sudo", "id", "-un"]).ok(), "root");
    let sudo = ["su", "postgres", "-c", "sudo -n id"];
    let run = debian().command(sudo);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("no new privileges"), "{run}");
}

/// sudo, java and apache ask for it. There is no server that would know.
fn the_own_name_resolves() {
    let run = debian().options(["--hostname", "attic"]);
    let run = run.sh("getent hosts attic && getent hosts localhost");
    assert!(run.ok().contains("attic"), "{run}");
    let sudo = debian().command(["sudo", "true"]);
    sudo.ok();
    assert!(!sudo.stderr.contains("unable to resolve"), "{sudo}");
}

/// Each of the 65536 ids that there are inside.
fn tar_keeps_all_owners() {
    let script = r#"
        cd /tmp && mkdir a
        for id in 0 1 33 1000 65534 65535; do
            touch a/$id && chown $id:$id a/$id
        done
        tar --numeric-owner -cf a.tar a && rm -r a && tar -xpf a.tar
        stat -c '%n %u %g' a/* | sort"#;
    let kept = "a/0 0 0\na/1 1 1\na/1000 1000 1000\na/33 33 33\n\
                a/65534 65534 65534\na/65535 65535 65535";
    assert_eq!(debian().sh(script).ok(), kept);
}
