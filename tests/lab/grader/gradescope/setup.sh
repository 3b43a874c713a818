#!/usr/bin/env bash
# Gradescope runs this once, when the image of the autograder is built, and has
# unpacked the archive in /autograder/source: the repository in
# /autograder/source/repository, these files beside it. VM=made says that there
# is a virtual machine already (see Dockerfile).
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    ca-certificates curl gcc libc6-dev procps tar util-linux uidmap
curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
    sh -s -- -y --profile minimal
# shellcheck disable=SC1091
. "$HOME/.cargo/env"

# A submission runs as another user, who shall not read the solution.
chmod 700 /autograder/source
cd /autograder/source/repository
# What can't be tried here runs in a virtual machine: a machine has cgroups of one
# version, and lab 4 is about both. Where namespaces are forbidden, all runs there.
apt-get install -y -qq --no-install-recommends \
    qemu-system-x86 busybox-static kmod cpio dpkg-dev
[ "${VM-}" = made ] || tests/vm/prepare

# Everything is compiled now, so that grading takes seconds and no network.
cargo build --quiet --package grader
directory=$(mktemp -d)
for step in 1 2 3 4 5 6; do
    cargo lab start "$step" --to "$directory/$step"
    # A starter scores nothing, which is no failure here.
    cargo lab grade "$directory/$step" || true
done
rm -rf "$directory"
