#!/usr/bin/env bash
# Make deploy/secrets for deploy/compose.yaml: users.acl, the users of Redis that docs/contract.md prints, with the hash of
# a random password each, and for each user a file with its URL (`telgw check --redis-file deploy/secrets/operator`).
# What is there already is kept: delete the folder to change all passwords.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
secrets=${1:-$here/secrets}
uid=10001 # of the image

[ ! -e "$secrets/users.acl" ] || { echo "$secrets is there already"; exit 0; }
umask 077
mkdir -p "$secrets"

# The words of one user on the page.
words() {
  awk -v mark="<!-- acl:$1 -->" '
    $0 == mark { found = 1; next }
    found && /^```/ { fences += 1; if (fences == 2) exit; next }
    found { print }
  ' "$here/../docs/contract.md" | tr -s ' \n' ' '
}

{
  echo 'user default off'
  echo 'user health on >health -@all +ping'
  for role in gateway producer consumer operator maintainer; do
    read -r _ _ name reset on _ rest <<<"$(words "$role")"
    password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
    echo "user $name $reset $on #$hash $rest"
    echo "redis://$name:$password@redis:6379/0" >"$secrets/$role"
  done
} >"$secrets/users.acl.new"
# Redis runs as another user; what it reads are rights and hashes of random passwords.
chmod 644 "$secrets/users.acl.new"
mv "$secrets/users.acl.new" "$secrets/users.acl"

# The gateway runs as the owner of its file, and never as root.
if [ "$(id -u)" = 0 ]; then
  chown "$uid:$uid" "$secrets/gateway"
else
  printf 'TELGW_UID=%s\nTELGW_GID=%s\n' "$(id -u)" "$(id -g)" >"$here/.env"
fi
echo "$secrets is made"
