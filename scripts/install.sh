#!/bin/sh
# `make install`: the binary, the configuration folder and, where systemd runs the machine, the service unit.
# DESTDIR and PREFIX (default /usr/local) as usual. An existing configuration is never overwritten.
set -eu
cd "$(dirname "$0")/.."

destdir=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
binary=${CARGO_TARGET_DIR:-target}/release/sluice
config=$destdir/etc/sluice

[ -x "$binary" ] || { echo "install: $binary is not built; run make build first" >&2; exit 2; }
install -D -m 755 "$binary" "$destdir$prefix/bin/sluice"
install -d -m 755 "$config/inventory" "$config/policies"
if [ -e "$config/sluice.yaml" ]; then
    echo "install: keeping $config/sluice.yaml"
else
    install -m 644 configs/sluice.yaml "$config/sluice.yaml"
fi
if [ -d "$destdir/etc/systemd" ] || [ -d /run/systemd/system ]; then
    sed "s|/usr/bin/sluice|$prefix/bin/sluice|g; s|/usr/local/bin/sluice|$prefix/bin/sluice|g" configs/systemd/sluice.service >"$binary.service"
    install -D -m 644 "$binary.service" "$destdir/etc/systemd/system/sluice.service"
    rm -f "$binary.service"
    echo "install: systemctl enable --now sluice   starts the service"
fi
echo "install: $destdir$prefix/bin/sluice, $config"
