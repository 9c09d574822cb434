#!/bin/sh
# Runs the Zeppelin server in the foreground; settings are ZEPPELIN_* variables, as with upstream's script of this name.
set -eu
ZEPPELIN_HOME=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export ZEPPELIN_HOME
export ZEPPELIN_CONF_DIR="${ZEPPELIN_CONF_DIR:-$ZEPPELIN_HOME/conf}"
export ZEPPELIN_LOG_DIR="${ZEPPELIN_LOG_DIR:-$ZEPPELIN_HOME/logs}"
export ZEPPELIN_INTERPRETER_REMOTE_RUNNER="${ZEPPELIN_INTERPRETER_REMOTE_RUNNER:-$ZEPPELIN_HOME/bin/interpreter.sh}"
# The server needs a web root, and none comes with the jars.
export ZEPPELIN_WAR="${ZEPPELIN_WAR:-$ZEPPELIN_HOME/web}"
export ZEPPELIN_ANGULAR_WAR="${ZEPPELIN_ANGULAR_WAR:-$ZEPPELIN_HOME/web}"
# Without a name for the process the server ends after a few seconds.
export ZEPPELIN_IDENT_STRING="${ZEPPELIN_IDENT_STRING:-$(id -un)}"
log4j="$ZEPPELIN_CONF_DIR/log4j.properties"
[ -f "$log4j" ] || log4j="$ZEPPELIN_HOME/conf/log4j.properties"
cd "$ZEPPELIN_HOME"
# shellcheck disable=SC2086 # options are words
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" ${ZEPPELIN_MEM:--Xmx512m} ${ZEPPELIN_JAVA_OPTS:-} \
    -Dfile.encoding=UTF-8 -Djava.awt.headless=true \
    "-Dlog4j.configuration=file://$log4j" "-Dzeppelin.log.file=$ZEPPELIN_LOG_DIR/zeppelin.log" \
    -cp "$ZEPPELIN_CONF_DIR:$ZEPPELIN_HOME/lib/*" org.apache.zeppelin.server.ZeppelinServer "$@"
