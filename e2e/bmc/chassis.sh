#!/bin/sh
# The chassis of the IPMI emulator: its machine is a process. `chassis.sh DIR get power`, `chassis.sh DIR set power 0`.
dir=$1
op=$2
shift 2
pid=$(cat "$dir/machine.pid" 2>/dev/null)
while [ $# -gt 0 ]; do
    case $op in
    get)
        case $1 in
        power) if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo power:1; else echo power:0; fi ;;
        boot) echo boot:default ;;
        *) echo "$1:0" ;;
        esac
        shift
        ;;
    set)
        if [ "$1" = power ] && [ "$2" = 0 ] && [ -n "$pid" ]; then
            kill -9 "$pid" 2>/dev/null
            rm -f "$dir/machine.pid"
        elif [ "$1" = power ] && [ "$2" = 1 ] && [ -z "$pid" ]; then
            setsid sleep 600 >/dev/null 2>&1 </dev/null &
            echo $! >"$dir/machine.pid"
        fi
        shift 2
        ;;
    *) shift ;;
    esac
done
exit 0
