"""Whenever the daemon is killed, nothing committed is lost, nothing else is seen, and it goes on where it was."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from daemons import OneDaemon, end, paths_in, spawn
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from leftovers import short_directory
from stateful import THOROUGH, stateful
from talkers import HOOKS, STAGES, Talkers
from truth import Truth

from tabletop.client import DaemonError, RemoteError
from tabletop.errors import TabletopError

PATIENCE = 60.0


class Kills(Talkers):
    """The engine in a daemon of its own, which is killed by signal: by the clock, in a command, or by a hook."""

    def __init__(self) -> None:
        super().__init__()
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(short_directory())
            (self.directory / "orders").mkdir()
            self._paths = paths_in(self.directory)
            self._client = OneDaemon(self._paths)
            self._log = stack.enter_context((self.directory / "daemon.log").open("wb"))
            stack.callback(lambda: end(self._daemon))
            self._doomed_in: float | None = None
            self._start()
            self._client.call("add_model", name="m")
            self._stack = stack.pop_all()

    def _start(self) -> None:
        """Start a daemon; should its first hooks kill it before it answers, another."""
        while not self._started():
            self._bury()

    def _started(self) -> bool:
        self._daemon = spawn(self._paths, self._log)
        self.mark("start", params={"pid": self._daemon.pid})
        (self.directory / "daemon.pid").write_text(str(self._daemon.pid))
        deadline = time.monotonic() + PATIENCE
        while not self._client.running():
            if self._daemon.poll() is not None:
                assert self._daemon.returncode == -signal.SIGKILL, f"the daemon ended: {self.daemon_log()}"
                return False
            assert time.monotonic() < deadline, f"the daemon doesn't answer: {self.daemon_log()}"
            time.sleep(0.01)
        return True

    def _kill(self) -> None:
        self._daemon.kill()

    def _revive(self) -> None:
        """Note a death, whoever was its cause, and start the next daemon."""
        if self._daemon.poll() is None:
            self._kill()
        self._bury()
        self._start()

    def _bury(self) -> None:
        self._daemon.wait()
        self.counts["kills"] += 1
        self.mark("kill", params={"pid": self._daemon.pid})

    def daemon_log(self) -> str:
        return (self.directory / "daemon.log").read_text()[-4000:]

    def call(self, method: str, **params: Any) -> Any:
        """Ask the daemon; one that is dead is revived first, one that dies meanwhile is asked again."""
        while True:
            if self._daemon.poll() is not None:
                self._revive()
            try:
                return self._client.call(method, **params)
            except DaemonError:
                self._revive()

    def command(self, method: str, after: Truth | None = None, refused: tuple[str, ...] = (), **params: Any) -> Any:
        """Give a command; if the daemon dies of it, see whether it was carried out, whole or not at all."""
        if self._daemon.poll() is not None:
            self._revive()
        number = next(self.numbers)
        self.counts["commands"] += 1
        self.mark("begin", command=number, method=method, params=params)
        death = None
        if self._doomed_in is not None:
            death = threading.Timer(self._doomed_in, self._kill)
            self._doomed_in = None
            death.start()
        try:
            result = self._client.call(method, model="m", **params)
        except DaemonError:
            self._find_out(number, method, params, after)
            return None
        except TabletopError as error:
            self.mark("refused", command=number, why=str(error))
            self.counts["refused"] += 1
            if not any(text in str(error) for text in refused):
                raise AssertionError(f"{method} {params} was refused") from error
            return None
        finally:
            if death is not None:
                death.join()
        self.mark("done", command=number)
        self.truth = after or self.truth
        self.led()
        return result

    def _find_out(self, number: int, method: str, params: dict[str, Any], after: Truth | None) -> None:
        # The mark comes before the next daemon runs any hook.
        self._daemon.wait()
        self.mark("unknown", command=number, method=method)
        self._revive()
        self.counts["commands cut short"] += 1
        if after is None:
            return
        if method == "remove_relation":
            # A status doesn't tell a relation that is ending from one that isn't.
            with contextlib.suppress(TabletopError):
                self.call(method, model="m", **params)
            self.truth = after
            return
        seen = self.seen()
        seen = replace(seen, relations=seen.relations - (self.ending - self.truth.relations))
        assert seen in (_visible(self.truth), _visible(after)), f"after a kill in {method}: {seen}"
        if seen == _visible(after):
            self.truth = after

    def ambiguous(self) -> set[tuple[str, str]]:
        return self.ending

    def check(self) -> None:
        super().check()
        assert "Traceback" not in self.daemon_log(), self.daemon_log()

    @initialize(hook=st.sampled_from(("any", *HOOKS)), stage=st.sampled_from(STAGES))
    def arm(self, hook: str, stage: str) -> None:
        """Have each history hold at least one kill, if its hook comes."""
        self.order(hook, "kill", stage, 1)

    @rule(milliseconds=st.integers(0, 60))
    def kill(self, milliseconds: int) -> None:
        """Kill it by the clock."""
        time.sleep(milliseconds / 1000)
        if self._daemon.poll() is None:
            self._revive()

    @rule(milliseconds=st.integers(0, 15))
    def doom(self, milliseconds: int) -> None:
        """Kill it in the midst of the next command."""
        self._doomed_in = milliseconds / 1000

    @rule(
        hook=st.sampled_from(("any", *HOOKS)),
        stage=st.sampled_from(STAGES),
        times=st.integers(1, 2),
    )
    def let_a_hook_kill(self, hook: str, stage: str, times: int) -> None:
        """Have a hook kill it: when it begins, between two writes, when it is about to end."""
        self.order(hook, "kill", stage, times)

    def close(self) -> None:
        with self._stack:
            for order in (self.directory / "orders").iterdir():
                order.unlink(missing_ok=True)
            with contextlib.suppress(RemoteError):
                # It's gone already if the daemon was killed after it had removed it.
                self.call("destroy_model", name="m")
            self._client.call("shutdown")
            self._daemon.wait(PATIENCE)


def _visible(truth: Truth) -> Truth:
    return replace(truth, numbers={})


@pytest.fixture(autouse=True)
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    with capsys.disabled():
        print(f"\n{Kills.told()}")


@pytest.mark.timeout(0 if THOROUGH else 600)
def test_whenever_it_is_killed_the_model_keeps_the_rules_and_settles() -> None:
    run_state_machine_as_test(Kills, settings=stateful(5, 12, share=2))
