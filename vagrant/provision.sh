#!/bin/sh
# Installs Sluice on a Debian 12 node from the tree in /vagrant, as the README says, and starts the service.
#
#   provision.sh NODE-NAME NODE-ADDRESS NODE-NUMBER
#
# Every step looks first whether it is done; running the script again updates the binary and keeps the configuration.
set -eu

name=${1:?node name}
address=${2:?node address}
number=${3:?node number}
tree=${SLUICE_TREE:-/vagrant}

say() { printf 'provision: %s\n' "$*"; }

[ "$(id -u)" = 0 ] || { echo "provision: needs root" >&2; exit 2; }

# 1. Rust and make. Debian 12 carries a current Rust as rustc-web and cargo-web in its security archive.
if ! command -v cargo >/dev/null 2>&1 || ! command -v make >/dev/null 2>&1; then
    say "installing make and Rust"
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends make rustc-web cargo-web >/dev/null
fi

# 2. Everything else, as on any machine. The build stays outside the shared folder.
export CARGO_TARGET_DIR=/var/tmp/sluice-target
export HOME="${HOME:-/root}"
cd "$tree"
scripts/setup.sh build demo
make install PREFIX=/usr/local

# 3. This node in the inventory; pods are added by whoever starts them (see configs/README.md).
inventory=/etc/sluice/inventory/node.yaml
if [ ! -e "$inventory" ]; then
    say "writing $inventory"
    printf 'nodes:\n  - name: %s\n    ips: [%s, 10.244.%s.1]\n' "$name" "$address" "$number" >"$inventory"
fi

# 4. The service.
if [ -d /run/systemd/system ] && [ -e /etc/systemd/system/sluice.service ]; then
    systemctl daemon-reload
    systemctl enable --quiet sluice
    systemctl restart sluice
    say "sluice is $(systemctl is-active sluice)"
fi

# 5. Proof.
sluice --version
sluice run --config /etc/sluice --check >/dev/null
say "done; try: sudo sluice status, sudo sluice demo"
