#!/bin/sh
# Runs one interpreter process for the Zeppelin server, which gives these options; see upstream's script of this name.
set -eu
user='' name=interpreter
while getopts d:c:p:r:i:l:u:g:v option; do
    case $option in
        d) directory=$OPTARG ;;
        c) host=$OPTARG ;;
        p) port=$OPTARG ;;
        r) range=$OPTARG ;;
        i) group=$OPTARG ;;
        l) repository=$OPTARG ;;
        u) user=$OPTARG ;;
        g) name=$OPTARG ;;
        v) echo "0.10.1" && exit 0 ;;
        *) exit 2 ;;
    esac
done
if [ -n "$user" ]; then
    echo "running an interpreter as another user ($user) is not supported" >&2
    exit 2
fi
ZEPPELIN_HOME=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export ZEPPELIN_HOME
log4j="${ZEPPELIN_CONF_DIR:-$ZEPPELIN_HOME/conf}/log4j.properties"
[ -f "$log4j" ] || log4j="$ZEPPELIN_HOME/conf/log4j.properties"
# PySpark brings a py4j that knows this machine's Python; the interpreter's own does not, and its zip comes first.
export PYTHONPATH="$ZEPPELIN_HOME/python${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2086 # options are words
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" ${ZEPPELIN_INTP_MEM:--Xmx256m} ${ZEPPELIN_INTP_JAVA_OPTS:-} \
    -Dfile.encoding=UTF-8 -Djava.awt.headless=true "-Dlog4j.configuration=file://$log4j" \
    "-Dzeppelin.log.file=${ZEPPELIN_LOG_DIR:-$ZEPPELIN_HOME/logs}/interpreter-$name.log" \
    -cp "$ZEPPELIN_HOME/interpreter/*:$directory/*:$repository/*" \
    org.apache.zeppelin.interpreter.remote.RemoteInterpreterServer "$host" "$port" "$group" "$range"
