"""The tables of status, and that a client written by others reads the same from its JSON."""

import json

import jubilant
import pytest

from tabletop import format
from tabletop.status import naturally, tabular, units_in_error

TABLES = """\
Model  Controller  Cloud/Region         Version  SLA          Timestamp
iot    tabletop    localhost/localhost  3.6.9    unsupported  07:48:24Z

App    Version          Status  Scale  Charm  Channel  Rev  Exposed  Message
store                   active      1  store             3  no       Ready
web    a version mu...  error       2  web               0  no       hook failed: "start"

Unit       Workload  Agent       Machine  Public address  Ports           Message
store/0*   active    executing   10       10.87.1.12                      (config-changed) Ready
web/2*     waiting   allocating  2                                        waiting for machine
  agent/0  active    idle                                                 Ready
web/10     error     idle        10       10.87.1.12      80/tcp,443/tcp  hook failed: "start"

Machine  State    Address     Inst id  Base              AZ  Message
2        pending              iot-2                          building
10       started  10.87.1.12  iot-10   debian@12/stable      Running

Integration provider  Requirer  Interface  Type
store:data            web:data  try-data   regular"""


def test_tables(status):
    assert tabular(status, relations=True) == TABLES
    assert "Requirer" not in tabular(status)


def test_an_empty_model_has_but_one_table(status):
    for key in ("machines", "applications", "relations"):
        del status[key]
    assert len(tabular(status, relations=True).splitlines()) == 2


def test_the_model_message_stands_at_the_end(status):
    status["model"]["model-status"]["message"] = "being removed"
    assert tabular(status).splitlines()[1].endswith("07:48:24Z  being removed")


def test_scale_shows_units_still_missing(status):
    status["applications"]["web"]["scale"] = 3
    assert "2/3" in tabular(status)


def test_jubilant_reads_what_the_tables_show(status):
    read = jubilant.Status._from_dict(json.loads(json.dumps(status)))
    text = tabular(status, relations=True)
    for name, app in read.apps.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert app.app_status.current in line
        assert app.app_status.message in line
        for unit, body in app.units.items():
            row = next(line for line in text.splitlines() if line.startswith(unit))
            assert body.workload_status.current in row
            assert body.public_address in row
            assert (f"{unit}*" in row) == body.leader
    assert read.apps["web"].units["web/10"].is_error
    assert read.apps["web"].units["web/2"].subordinates["agent/0"].is_active
    assert read.model.name == "iot"
    assert not jubilant.all_active(read)
    assert jubilant.any_error(read)


def test_units_in_error(status):
    assert units_in_error(status) == ["web/10"]


def test_numbers_in_names_sort_by_value():
    assert naturally(["a/10", "a/9", "b/1", "a/1"]) == ["a/1", "a/9", "a/10", "b/1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": 1}, "a: 1"), ("x", "x"), ({"t": "one\ntwo\n"}, "t: |\n  one\n  two"), ([1, "é"], "- 1\n- é")],
)
def test_yaml(value, text):
    assert format.to_yaml(value).removesuffix("\n...") == text


def test_table_rows_may_be_shorter_than_the_header():
    assert format.table(("A", "B"), [("x",), ("yy", "z")], right=(0,)) == [" A  B", " x", "yy  z"]
