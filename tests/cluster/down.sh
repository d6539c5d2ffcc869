#!/bin/bash
# down.sh [--wipe]: ends the cluster and leaves no process, mount, interface or cgroup; the logs stay
# in $CLUSTER_RUN/log. --wipe removes $CLUSTER_RUN too. Does nothing if nothing runs.
#
# Nothing is looked up by name: one recorded process is killed, and the kernel ends what lives in its
# namespaces.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
case "${1-}" in
  "" | --wipe) ;;
  *) die "usage: down.sh [--wipe]" ;;
esac

# A zombie has ended: when its parent notices is not our business.
runs() { [ -e "/proc/$1" ] && ! grep -qs '^State:.Z' "/proc/$1/status"; }

if starter=$(starter_pid); then
  init=$(init_pid) || init=
  kill -KILL "$starter" # its --kill-child kills PID 1 of the namespace, the kernel kills the rest
  for pid in $starter $init; do
    for _ in {1..300}; do
      runs "$pid" || break
      sleep 0.1
    done
    ! runs "$pid" || die "process $pid does not end"
  done
fi
rm -f "$RUN/starter" "$CONTAINERD_SOCKET" "$CONTAINERD_SOCKET.ttrpc"

# Only empty cgroups can be removed, innermost first; the kernel needs a moment to empty them.
if [ -e "$RUN/cgroups" ]; then
  while read -r _ directory; do
    for _ in {1..50}; do
      [ -d "$directory" ] || break
      find "$directory" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
    done
    [ ! -d "$directory" ] || die "cgroup $directory is not empty"
  done < "$RUN/cgroups"
fi

if [ "${1-}" = --wipe ] && [ -d "$RUN" ]; then
  if [ ! -e "$RUN/.loadtest-cluster" ] && [ -n "$(ls -A "$RUN")" ]; then
    die "$RUN is not a cluster's directory, so it is left alone: set CLUSTER_RUN to an empty or new one"
  fi
  rm -rf "$RUN"
fi
