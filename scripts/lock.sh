#!/usr/bin/env bash
# Resolves the dependencies into two hashed lock files that hold for every platform and for Python 3.11 and newer:
# requirements.lock (what `keeper run` needs) and requirements-dev.lock (that, and the tools).
# Neither names a package index: where packages come from is the machine's own business.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_NATIVE_TLS=1 UV_SYSTEM_CERTS=1

compile() {
    .venv/bin/python -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" --quiet "$@" >/dev/null
}

compile "$@" --output-file requirements.lock
compile "$@" --group dev --constraint requirements.lock --output-file requirements-dev.lock
wc -l requirements.lock requirements-dev.lock
