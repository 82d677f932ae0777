#!/usr/bin/env bash
# Debian packages that the tests use: a browser for the dashboard's stories, a PostgreSQL server for a team's database.
# Nothing else needs them; without them their tests are skipped with a reason.
set -euo pipefail

packages=(chromium fonts-dejavu-core postgresql)

missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
"${root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -qq --yes --no-install-recommends "${missing[@]}"
