#!/bin/sh
# Plesk's `bin dns`, as far as it is used here. Zones are files of lines as --info prints them.
# A file `fail--add` makes that command fail, `block--add` makes it hang,
# `ignore--add` lets it end well with nothing done, and so on.
here=@HERE@
wrong() {
    echo "$1" >>"$here/wrong"
    echo "unexpected use" >&2
    exit 99
}
[ -z "$SILO_LEAK" ] || wrong "the environment was not cleared"
[ "$(id -u)" = 0 ] || wrong "not root"
printf '%s\n' "$*" >>"$here/calls"
[ "$1" = bin ] && [ "$2" = dns ] || wrong "not bin dns: $*"
verb=$3
zone=$4
file="$here/zones/$zone"
if [ -e "$here/fail$verb" ]; then
    echo "Error: the license has expired" >&2
    exit 1
fi
if [ -e "$here/block$verb" ]; then
    (while [ -e "$here/block$verb" ]; do sleep 0.05; done) &
    echo "$$ $!" >"$here/blocked.new"
    mv "$here/blocked.new" "$here/blocked"
    wait
fi
if [ ! -f "$file" ]; then
    echo "Domain $zone does not exist" >&2
    exit 1
fi
case $verb in
--info)
    [ $# = 4 ] || wrong "arguments: $*"
    if [ -e "$here/hide-once" ]; then
        rm "$here/hide-once"
    else
        cat "$file"
    fi
    echo
    echo "SUCCESS: Getting information for Domain '$zone' completed"
    exit 0
    ;;
--add | --del) ;;
*) wrong "command: $*" ;;
esac
[ $# = 8 ] && [ "$7" = -ip ] || wrong "arguments: $*"
case $5:$8 in
-a:*:*) wrong "family: $*" ;;
-a:*) type=A ;;
-aaaa:*:*) type=AAAA ;;
*) wrong "family: $*" ;;
esac
if [ -e "$here/ignore$verb" ]; then exit 0; fi
line="${6:+$6.}$zone. $type $8"
if [ "$verb" = --add ]; then
    if grep -qxF -e "$line" "$file"; then
        echo "Error: such a record exists already" >&2
        exit 2
    fi
    printf '%s\n' "$line" >>"$file"
else
    if ! grep -qxF -e "$line" "$file"; then
        echo "Error: there is no such record" >&2
        exit 1
    fi
    grep -vxF -e "$line" "$file" >"$file.new" || :
    mv "$file.new" "$file"
fi
echo "SUCCESS: the zone was changed"
