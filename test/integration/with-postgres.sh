#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own, in a new folder, on loopback, with KIRI_TEST_POSTGRES set:
#   test/integration/with-postgres.sh npx tap --disable-coverage build/test/sync/clearing/*.test.js
# The server and its folder are gone afterwards. It needs Debian's package postgresql, or initdb and postgres in PATH.
set -euo pipefail
(($#)) || { echo "usage: ${0##*/} COMMAND..." >&2; exit 2; }

newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
PATH=${newest:+$newest:}$PATH
command -v initdb >/dev/null || { echo "${0##*/}: no initdb: install postgresql, 15 or later" >&2; exit 1; }

# In memory where there is room: fsync stays on, as the store wants it, and costs nothing.
base=${TMPDIR:-/tmp}
[[ -w /dev/shm ]] && (($(df --output=avail /dev/shm | tail -n 1) > 1000000)) && base=/dev/shm
folder=$(mktemp -d "$base/kiri-postgres.XXXXXX")
# initdb refuses root.
as=()
if ((EUID == 0)); then
  chown postgres "$folder"
  as=(runuser -u postgres --)
fi

stop() {
  "${as[@]}" pg_ctl -D "$folder/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'kill "${child:-}" 2>/dev/null; exit 143' INT TERM

(
  cd "$folder"
  # Ordered as Japanese, as a real server may be: the store must not hang on it.
  "${as[@]}" initdb -D data -U kiri -A trust -E UTF8 --locale=C.UTF-8 \
    --locale-provider=icu --icu-locale=ja --no-sync >/dev/null
)
# One role that has to show its password.
sed -i '1i host all guarded 127.0.0.1/32 scram-sha-256' "$folder/data/pg_hba.conf"
# A free port below those that the system hands out by itself; another one where somebody was faster.
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 12000))
  options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder -c max_connections=60"
  options+=' -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0'
  if "${as[@]}" pg_ctl -D "$folder/data" -l "$folder/log" -o "$options" -w -t 30 start >/dev/null 2>&1; then
    started=yes
    break
  fi
done
[[ ${started:-} ]] || { cat "$folder/log" >&2; exit 1; }

# Waited for, so that a signal ends both.
KIRI_TEST_POSTGRES="postgres://kiri@127.0.0.1:$port/postgres" "$@" <&0 &
child=$!
wait "$child"
