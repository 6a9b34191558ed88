#!/bin/sh
# silo-nic-update.sh CONFIG URL HOST [ADDRESS[,ADDRESS]]
#
# Sets a record at a Silo hub with dyndns2. CONFIG is a file for curl that only its owner can read, with the line
# user = "home:silo_…". Without ADDRESS the hub uses the address that the call comes from.
# Prints nothing if nothing has changed. Exit codes: 0 done, 1 failed, 2 wrong usage.
set -u
if [ $# -lt 3 ] || [ $# -gt 4 ] || [ ! -r "$1" ]; then
  echo "usage: silo-nic-update.sh CONFIG URL HOST [ADDRESS[,ADDRESS]]; CONFIG is a readable file" >&2
  exit 2
fi
query="hostname=$3${4:+&myip=$4}"
answer=$(curl -sS --max-time 60 -K "$1" -w ' %{http_code}' "$2/nic/update?$query") || {
  echo "silo-nic-update: $2 cannot be reached" >&2
  exit 1
}
status=${answer##* } words=$(printf %s "${answer% *}")
case $words in
  good*) echo "$3: $words" ;;
  nochg*) ;;
  badauth*) echo "silo-nic-update: $status badauth: the token in $1 is unknown, revoked or mistyped, or is for several silos" >&2; exit 1 ;;
  nohost*) echo "silo-nic-update: nohost: the token may not write $3" >&2; exit 1 ;;
  notfqdn*) echo "silo-nic-update: notfqdn: $3 is not a valid hostname" >&2; exit 1 ;;
  dnserr*) echo "silo-nic-update: dnserr: the address can't be used; the hub's log says why" >&2; exit 1 ;;
  911*) echo "silo-nic-update: $status 911: the hub can't do it now; its log says why" >&2; exit 1 ;;
  *) echo "silo-nic-update: $status from $2: is this the hub?" >&2; exit 1 ;;
esac
