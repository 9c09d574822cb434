from ipaddress import IPv4Network

import pytest

from tabletop.errors import TabletopError
from tabletop.network import Network, choose_subnet, networks_of_host, next_index
from tabletop.paths import Paths


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ([], "10.87.0.0/24"),
        (["0.0.0.0/0"], "10.87.0.0/24"),
        (["10.87.0.0/24", "10.87.1.128/25", "192.168.0.0/16"], "10.87.2.0/24"),
        (["10.87.0.7/32"], "10.87.1.0/24"),
        (["10.87.0.0/16"], "10.187.0.0/24"),
    ],
)
def test_the_subnet_keeps_clear_of_routes(taken: list[str], chosen: str) -> None:
    assert choose_subnet(map(IPv4Network, taken)) == IPv4Network(chosen)


def test_no_subnet_is_left() -> None:
    with pytest.raises(TabletopError, match="in use on this host"):
        choose_subnet([IPv4Network("10.0.0.0/8")])


def test_the_host_s_own_routes_are_read() -> None:
    assert any(network.overlaps(IPv4Network("127.0.0.0/8")) for network in networks_of_host())


def test_numbers_come_back_late() -> None:
    assert next_index([], 1) == 2
    assert next_index([2, 3], 3) == 4
    assert next_index([3], 2) == 4
    assert next_index([2], 254) == 3
    assert next_index(range(3, 255), 100) == 2
    with pytest.raises(TabletopError, match="All 253 addresses"):
        next_index(range(2, 255), 2)


def test_subnet_and_last_number_are_kept(tmp_path) -> None:
    paths = Paths(tmp_path / "state")
    first = Network(paths)
    assert [first.allocate([]), first.allocate([2])] == [2, 3]
    again = Network(paths)
    assert again.subnet() == first.subnet()
    assert again.allocate([]) == 4, "2 and 3 are free again, yet come last"
    assert again.address(4) == str(first.subnet()[4])


def test_names_fit_the_kernel_s_limit(tmp_path) -> None:
    for paths in (Paths(), Paths(tmp_path)):
        network = Network(paths)
        assert len(network.veth(254)) <= 15
        assert len(network.bridge) <= 15
    assert Network(Paths()).bridge == "tabletop0"


def test_two_tabletops_share_no_name(tmp_path) -> None:
    one, other = Network(Paths(tmp_path / "one")), Network(Paths(tmp_path / "other"))
    for left, right in (
        (one.bridge, other.bridge),
        (one.table, other.table),
        (one.veth(2), other.veth(2)),
        (one.namespace_file("m"), other.namespace_file("m")),
    ):
        assert left != right


@pytest.mark.parametrize("content", ["", "{", '{"subnet": "10.87.0.0/24"}', '{"subnet": "ten", "last": 1}', "[1]"])
def test_a_spoilt_record_is_named_with_what_belongs_in_it(tmp_path, content: str) -> None:
    paths = Paths(tmp_path)
    (paths.state / "network.json").write_text(content)
    with pytest.raises(TabletopError, match=r"network\.json is spoilt \(.*write into it the network .* or begin anew"):
        Network(paths).subnet()
    with pytest.raises(TabletopError, match=r"network\.json is spoilt"):
        Network(paths).allocate([])
