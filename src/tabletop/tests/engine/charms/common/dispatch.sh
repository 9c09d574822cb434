#!/bin/sh
# Notes the event and does what the test wants done on it, if anything: scripts under behaviour/<unit or "any">/<hook>.
set -e
hook=${JUJU_HOOK_NAME:-action-$JUJU_ACTION_NAME}
unit=$(echo "$JUJU_UNIT_NAME" | tr / -)
echo "$JUJU_UNIT_NAME $hook ${JUJU_REMOTE_UNIT:-$JUJU_REMOTE_APP} $JUJU_DEPARTING_UNIT" >>@world@/events
for who in any "$unit"; do
    if [ -f "@world@/behaviour/$who/$hook" ]; then . "@world@/behaviour/$who/$hook"; fi
done
echo "$JUJU_UNIT_NAME $hook" >>@world@/done
