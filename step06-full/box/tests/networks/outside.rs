//! Programs that people use, through a network.

use harness::{Test, claims, needs};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    wget_gets_a_page_from_outside,
    apt_get_updates_through_the_way_out,
    postgres_is_reached_by_name,
    resolvers_are_those_that_can_be_reached,
];

fn wget_gets_a_page_from_outside() {
    needs::tool("python3");
    needs::tool("wget");
    let said = says(
        r#"
mkdir /run/web && echo welcome > /run/web/index.html
lan python3 -m http.server --directory /run/web 80 >/dev/null 2>&1 &
until_it wget -q -O - http://192.168.50.9/
box run --network box0 --volume /usr:/usr:ro --volume /lib:/lib:ro - \
    wget -q -O - http://192.168.50.9/ 2>&1
"#,
    );
    assert!(said.ends_with("welcome\n"), "{said}");
}

/// A repository without a package: what counts is that apt-get(8) speaks to it
/// from inside, and changes its user meanwhile.
fn apt_get_updates_through_the_way_out() {
    needs::tool("python3");
    needs::tool("apt-get");
    let said = says(
        r#"
mkdir -p /run/web/dists/stable/main/binary-amd64
cd /run/web/dists/stable
: > main/binary-amd64/Packages
sum=$(sha256sum < main/binary-amd64/Packages | cut -d ' ' -f 1)
cat > Release <<END
Suite: stable
Codename: stable
Components: main
Architectures: amd64
Date: $(date -u -R)
SHA256:
 $sum 0 main/binary-amd64/Packages
END
lan python3 -m http.server --directory /run/web 80 >/dev/null 2>&1 &
until_it wget -q -O - http://192.168.50.9/dists/stable/Release
mkdir /run/apt && echo 'deb [trusted=yes] http://192.168.50.9/ stable main' \
    > /run/apt/sources.list
cp /etc/passwd /etc/group /run/apt
box run --network box0 --volume /usr:/usr:ro --volume /lib:/lib:ro \
    --volume /run/apt:/etc/apt:ro \
    - sh -c 'mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial \
        /var/lib/dpkg /tmp; : > /var/lib/dpkg/status; chmod 1777 /tmp
        cat /etc/apt/passwd > /etc/passwd; cat /etc/apt/group > /etc/group
        ln -s lib /lib64 2>/dev/null
        apt-get update' 2>&1
"#,
    );
    assert!(
        said.contains("http://192.168.50.9 stable Release"),
        "{said}"
    );
    assert!(said.contains("Reading package lists"), "{said}");
}

fn postgres_is_reached_by_name() {
    let postgres = std::path::Path::new("/usr/lib/postgresql");
    let has_it = std::fs::read_dir(postgres).is_ok();
    if !has_it {
        harness::skip("needs PostgreSQL, of Debian's package");
    }
    let said = says(
        r#"
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
mkdir /run/etc && cp /etc/passwd /etc/group /run/etc
user=$(id -u postgres)
box run --network box0 --memory 1g --pids-limit 200 --hostname db --volume /usr:/usr:ro \
    --volume /lib:/lib:ro --volume /run/etc/passwd:/etc/passwd:ro \
    --volume /run/etc/group:/etc/group:ro - sh -c "
    mkdir -p /data /tmp; chmod 1777 /tmp; chown $user /data
    setpriv --reuid $user --clear-groups $bin/initdb -D /data -A trust
    echo 'host all all 10.88.77.0/24 trust' >> /data/pg_hba.conf
    exec setpriv --reuid $user --clear-groups $bin/postgres -D /data \
        -c listen_addresses='*' -c unix_socket_directories=/tmp
    " > /run/db.log 2>&1 &
ask() {
    box run --network box0 --volume /usr:/usr:ro --volume /lib:/lib:ro - \
        $bin/psql -h db -U postgres -A -t -c 'select 6 * 7'
}
for _ in $(seq 40); do ask 2>/dev/null && exit; sleep 0.5; done
cat /run/db.log
"#,
    );
    assert_eq!(said, "42\n");
}

fn resolvers_are_those_that_can_be_reached() {
    let said = says(
        r#"
resolvers() {
    printf "$1" > /run/resolv.conf
    mount --bind /run/resolv.conf /etc/resolv.conf
    box run --network box0 - cat /etc/resolv.conf 2>/dev/null | grep nameserver
    umount /etc/resolv.conf
}
resolvers 'nameserver 127.0.0.1\nnameserver 192.0.2.7\n'
mkdir -p /run/systemd/resolve
echo 'nameserver 192.0.2.8' > /run/systemd/resolve/resolv.conf
resolvers 'nameserver 127.0.0.53\n'
rm /run/systemd/resolve/resolv.conf
echo 'nameserver 127.0.0.53' > /run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
box run --network box0 - true 2>&1 | grep -o 'no server of /etc/resolv.conf'
"#,
    );
    let none = "no server of /etc/resolv.conf\n";
    let some = "nameserver 192.0.2.7\nnameserver 192.0.2.8\n";
    assert_eq!(said, [some, none].concat());
}
