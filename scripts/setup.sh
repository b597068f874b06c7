#!/usr/bin/env bash
# Makes .venv with exactly the packages of requirements-dev.lock, and keeper itself in place (editable).
# Needs Python 3.11 or newer; takes uv from the package index when the machine has none. Safe to run again.
# KEEPER_PYTHON names another interpreter than the first fitting one on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

venv_python=.venv/bin/python
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Trust what the machine trusts (two names, for old and new releases of uv).
export UV_NATIVE_TLS=1 UV_SYSTEM_CERTS=1

# step "what" command…: one line with the time it took; the command's own output only when it fails.
step() {
    local what=$1 started=$SECONDS
    shift
    printf 'setup: %s ... ' "$what"
    if "$@" >"$log" 2>&1 </dev/null; then
        printf 'done (%d s)\n' $((SECONDS - started))
    else
        printf 'FAILED\n'
        cat "$log"
        exit 1
    fi
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${KEEPER_PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or newer on PATH; install one, or name it: KEEPER_PYTHON=/path/to/python3 make setup" >&2
    return 1
}

# Debian splits ensurepip off; pip outside can then fill the environment from there.
make_venv() {
    "$1" -m venv --clear .venv || "$1" -m venv --clear --without-pip .venv
}

# The block of the lock that pins uv, with its hashes.
locked_uv() {
    awk '/^uv==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements-dev.lock
}

install_uv() {
    locked_uv >"$log.uv"
    local pip=("$venv_python" -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || pip=("$1" -m pip --python "$venv_python")
    "${pip[@]}" install --quiet --require-hashes --no-deps --requirement "$log.uv" || {
        rm -f "$log.uv"
        echo "uv could not be installed: put uv on PATH, or install pip (Debian: python3-venv), and try again"
        return 1
    }
    rm -f "$log.uv"
}

if ! new_enough "$venv_python"; then
    python=$(find_python)
    step "environment .venv from $("$python" --version)" make_venv "$python"
fi

uv=(uv)
if "$venv_python" -m uv --version >/dev/null 2>&1; then
    uv=("$venv_python" -m uv)
elif ! uv --version >/dev/null 2>&1; then
    step "uv, the installer (not on this machine yet)" install_uv "${python:-$(find_python)}"
    uv=("$venv_python" -m uv)
fi

step "$(grep -c '==' requirements-dev.lock) locked packages (a minute on a slow line)" \
    "${uv[@]}" pip install --python "$venv_python" --require-hashes --requirement requirements-dev.lock
step "keeper, in place" \
    "${uv[@]}" pip install --python "$venv_python" --no-deps --no-build-isolation --editable .
touch .venv/.installed
