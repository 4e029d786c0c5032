#!/usr/bin/env bash
# All checks of the tree, in named stages; this is also the whole of CI.
#
#   scripts/test.sh                  every stage
#   scripts/test.sh STAGE...         only these, in the given order
#   scripts/test.sh --list           their names
#
# Stages that need root (network namespaces, XDP) say SKIPPED and why without it. As root nothing may be skipped
# that the machine can do: the tests then fail instead of skipping.
#
# With the stage `setup`, what the tests need is installed while the first stages compile, and awaited by the first one
# that needs it; the Kafka broker, which has to be compiled, comes last.
set -euo pipefail
cd "$(dirname "$0")/.."

STAGES=(setup fmt lint deps build unit doc ebpf e2e fuzz shell broker)

# What is installed meanwhile: its process, the file with what it says, and the stages that wait for it.
declare -A pid_of=() said_of=()
declare -A awaited=([unit]=packages [ebpf]=packages [e2e]=packages [fuzz]=packages [shell]=packages [broker]=broker)

stage_setup() { scripts/setup.sh build; }

install_packages() { scripts/setup.sh test && scripts/install-ebpf-toolchain.sh; }

# Takes what the stages leave of the processors, and a target folder of its own: they hold the lock of theirs.
install_broker() { env -u CARGO_TARGET_DIR nice -n 19 scripts/setup.sh broker; }

# Starts one of the two above in a group of its own, so that all of it can be ended.
meanwhile() {
    said_of[$1]=$(mktemp)
    set -m
    (set -e; "install_$1") </dev/null >"${said_of[$1]}" 2>&1 &
    set +m
    pid_of[$1]=$!
}

# Waits for one of them, once, and shows what it said.
await() {
    local name=$1 pid="" status=0 start=$SECONDS
    [ -z "$name" ] || pid=${pid_of[$name]:-}
    [ -n "$pid" ] || return 0
    wait "$pid" || status=$?
    unset "pid_of[$name]"
    cat "${said_of[$name]}"
    rm -f "${said_of[$name]}"
    if [ "$status" -ne 0 ]; then
        printf '==> setup of %s FAILED (exit code %d)\n' "$name" "$status" >&2
        return 1
    fi
    printf '==> setup of %s ok, waited for %d s\n' "$name" $((SECONDS - start))
}

end_all() {
    local name
    for name in "${!pid_of[@]}"; do
        kill -- "-${pid_of[$name]}" 2>/dev/null || true
        rm -f "${said_of[$name]}"
    done
}
trap end_all EXIT

stage_fmt() { cargo fmt --all --check; }

stage_lint() { cargo clippy --locked --workspace --all-targets -- -D warnings; }

# Which crate may depend on which, and that nothing outside the tree slips in.
stage_deps() { cargo test --locked -p sluice --test dag; }

stage_ebpf() {
    scripts/install-ebpf-toolchain.sh
    scripts/build-ebpf.sh --check
}

stage_build() { cargo build --locked --workspace --all-targets; }

stage_unit() { cargo test --locked --workspace --lib --bins; }

stage_doc() {
    cargo test --locked --workspace --doc
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
}

privileged() {
    if [ "$(id -u)" = 0 ] && [ -z "${SLUICE_ALLOW_SKIP:-}" ]; then
        export SLUICE_REQUIRE_PRIVILEGED=1
    else
        echo "SKIPPED privileged tests: not root (run this stage with sudo to include them)"
    fi
}

# The integration tests of every crate; the privileged ones build namespaces and serialise themselves by a file lock.
stage_e2e() {
    privileged
    cargo test --locked --workspace --test '*' --no-fail-fast -- --skip tansu::
    # What the node does once more, with its flows divided between two workers.
    SLUICE_TEST_WORKERS=2 cargo test --locked -p sluice --no-fail-fast \
        --test e2e_traffic --test e2e_capture --test e2e_metrics
    SLUICE_TEST_WORKERS=2 cargo test --locked -p sluice --test e2e_lifecycle -- pods_come_and_go connections_survive
    SLUICE_TEST_WORKERS=2 cargo test --locked -p sluice --test e2e_l7 dns::
}

# Each target for a short while; the long runs are started by hand (see CONTRIBUTING.md).
stage_fuzz() {
    if [ -x scripts/fuzz-smoke.sh ]; then
        scripts/fuzz-smoke.sh
    else
        echo "SKIPPED fuzz: there is no scripts/fuzz-smoke.sh"
    fi
}

stage_shell() {
    local files=()
    mapfile -t files < <(git ls-files '*.sh' '.ci/run'; grep -lE '^#!.*\b(ba)?sh\b' vagrant/* 2>/dev/null || true)
    mapfile -t files < <(printf '%s\n' "${files[@]}" | sort -u)
    if ! command -v shellcheck >/dev/null; then
        echo "SKIPPED shell: shellcheck is not installed"
        return 0
    fi
    shellcheck --severity=warning "${files[@]}"
    echo "${#files[@]} scripts are clean"
}

# Those that take a Kafka broker which is one.
stage_broker() {
    privileged
    cargo test --locked -p sluice --test e2e_grpc_kafka tansu::
}

case "${1:-}" in
    --list) printf '%s\n' "${STAGES[@]}"; exit 0 ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=("${STAGES[@]}")
for stage in "${wanted[@]}"; do
    declare -F "stage_$stage" >/dev/null || { echo "unknown stage: $stage (see $0 --list)" >&2; exit 2; }
done

began=$SECONDS
for stage in "${wanted[@]}"; do
    await "${awaited[$stage]:-}"
    start=$SECONDS
    printf '\n==> %s\n' "$stage"
    # A subshell with errexit of its own: `if stage` would switch it off inside.
    set +e
    (set -e; "stage_$stage")
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        printf '==> %s FAILED after %d s (exit code %d)\n' "$stage" $((SECONDS - start)) "$status" >&2
        exit 1
    fi
    printf '==> %s ok, %d s\n' "$stage" $((SECONDS - start))
    if [ "$stage" = setup ]; then
        meanwhile packages
        meanwhile broker
    fi
done
printf '\nall stages ok: %s (%d s)\n' "${wanted[*]}" $((SECONDS - began))
