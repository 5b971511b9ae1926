#!/bin/bash
# The stack of a lab node: the one command line under test, normally the hafen daemon. Runs inside the node.
#
#   stack.sh start      runs the command in /srv/shared/.lab/NAME.stack; output goes to /var/log/hafen.log
#   stack.sh stop       SIGTERM, and waits until it is gone
#
# It is a child of PID 1 in a session of its own, so it lives on when the shell that started it ends.
set -eu
command=/srv/shared/.lab/$(hostname).stack
pid() { cat /run/stack.pid 2>/dev/null; }
case $1 in
start)
    ! kill -0 "$(pid)" 2>/dev/null || exit 0
    [ ! -e /sys/fs/cgroup/stack ] || echo 0 >/sys/fs/cgroup/stack/cgroup.procs
    setsid bash -c "exec $(cat "$command")" >>/var/log/hafen.log 2>&1 </dev/null &
    echo $! >/run/stack.pid ;;
stop)
    kill "$(pid)" 2>/dev/null || exit 0
    while kill -0 "$(pid)" 2>/dev/null; do sleep 0.01; done ;;
*) echo "usage: stack.sh start|stop" >&2; exit 64 ;;
esac
