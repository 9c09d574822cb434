"""When the watchdog loses patience, and how it counts connections."""

import os
import socket

import pytest

from iot_charm.flume.watchdog import Patience, connections, is_accepting

OK = {"running": True, "accepting": True}


def test_missing_connections_are_borne_for_the_grace_time_only():
    patience = Patience(wanted=2, grace_s=30)
    assert not patience.is_over(1, now=0, **OK)
    assert not patience.is_over(1, now=29, **OK)
    assert patience.is_over(1, now=30, **OK)
    assert not patience.is_over(1, now=31, **OK), "a restart has its own grace time"


@pytest.mark.parametrize(
    "found",
    [
        {"connections": 2, **OK},
        {"connections": 0, "running": False, "accepting": True},
        {"connections": 0, "running": True, "accepting": False},
    ],
    ids=["all connected", "agent down", "broker down"],
)
def test_patience_begins_anew(found: dict[str, bool]):
    patience = Patience(wanted=2, grace_s=30)
    patience.is_over(1, now=0, **OK)
    assert not patience.is_over(now=29, **found)
    assert not patience.is_over(1, now=31, **OK)


def test_connections_of_a_process_are_counted_by_their_other_end():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        address = ("127.0.0.1", server.getsockname()[1])
        with (
            socket.create_connection(address),
            socket.create_connection(address),
            socket.create_connection(other.getsockname()),
        ):
            assert connections(os.getpid(), [address]) == 2
        assert is_accepting([address])
    assert not is_accepting([address])
    assert connections(os.getpid(), [("no-such-host.invalid", 1)]) == 0
