#!/bin/sh
# Installs what tools/packages.txt lists, if anything of it is missing. Needs root, or sudo.
set -eu
cd "$(dirname "$0")/.."
packages=$(sed 's/#.*//' tools/packages.txt)
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" ||
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
root=""
[ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -q >/dev/null
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $root apt-get install -q -y --no-install-recommends $missing >/dev/null
