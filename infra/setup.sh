#!/usr/bin/env bash
# Creates .venv from the lock: torch first and alone, everything else with hashes. Does nothing when it is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    { echo "Lapidar needs Python 3.11; $("$python" --version) was found. Name another one with PYTHON=…" >&2; exit 1; }

stamp=.venv/lapidar-setup.sha256
wanted=$(cat infra/requirements.lock infra/setup.sh pyproject.toml | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

[ ! -L .venv ] || { echo ".venv is a link to $(readlink .venv), which belongs to another checkout; remove the link first" >&2; exit 1; }
echo "Setting up .venv (about 3 GB)…" >&2
"$python" -m venv --clear .venv
# torch isn't in the lock: each machine takes the build for its own accelerator (see README, *Set-up*).
.venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r infra/requirements.lock
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
.venv/bin/pip check
echo "$wanted" >"$stamp"
