#!/bin/sh
# Pins what pyproject.toml names, with hashes, for every supported Python, naming no package index.
# Extra arguments go to the resolver: `sh infra/setup/lock.sh --upgrade`.
set -eu
cd "$(dirname "$0")/../.."

[ -x .cache/lock/bin/uv ] || { .venv/bin/python -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv; }

compile() {
    .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header "$@" >/dev/null
}

compile "$@" pyproject.toml --output-file requirements.txt
compile "$@" --group dev --constraint requirements.txt --output-file requirements-dev.txt
compile "$@" infra/guest/requirements.in --output-file infra/guest/requirements.txt
