"""The machines' network: a bridge, one network namespace a machine, and a way out through the host's address.

A machine's namespace is made and given its address before the machine boots in it, so nothing inside has to
configure a network, and no service of it ever starts without one.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tabletop.errors import TabletopError
from tabletop.locks import locked
from tabletop.mounts import is_mounted
from tabletop.partition import Partition
from tabletop.paths import Paths
from tabletop.programs import run, succeeds

_NAMESPACES = Path("/run/netns")
_CANDIDATES = [IPv4Network(f"10.{second}.{third}.0/24") for second in (87, 187) for third in range(256)]
_FIRST, _LAST = 2, 254
INTERFACE = "eth0"
"""The name of a machine's interface, as the machine sees it."""


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first of our candidates that overlaps none of the networks that the host knows.

    Raises:
        TabletopError: all are taken.
    """
    networks = [network for network in taken if network.prefixlen > 0]
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in networks):
            return candidate
    raise TabletopError("Every network from 10.87.0.0/24 to 10.187.255.0/24 is in use on this host.")


def networks_of_host(*, leaving_out: str = "") -> list[IPv4Network]:
    """The destinations of the host's routes, less those through the interface ``leaving_out``."""
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]))
    networks: list[IPv4Network] = []
    for route in routes:
        destination = str(route["dst"])
        if destination != "default" and route.get("dev") != leaving_out:
            networks.append(IPv4Network(destination, strict=False))
    return networks


def next_index(taken: Iterable[int], last: int) -> int:
    """The number, and last byte of the address, of the next machine: numbers come back as late as possible.

    Raises:
        TabletopError: all are taken.
    """
    used = set(taken)
    span = _LAST - _FIRST + 1
    for step in range(1, span + 1):
        index = _FIRST + (last - _FIRST + step) % span
        if index not in used:
            return index
    raise TabletopError(f"All {span} addresses of the machines' network are in use: remove a machine first.")


@dataclass(frozen=True)
class Network:
    """The network of one tabletop; what it is called follows from the tabletop's state directory."""

    paths: Paths

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return f"{self.paths.tag}0"

    @property
    def table(self) -> str:
        """The nftables table's name (family ip)."""
        return self.paths.tag

    def namespace(self, name: str) -> str:
        """The name of a machine's network namespace, as ``ip netns`` lists it."""
        return f"{self.paths.tag}-{name}"

    def namespace_file(self, name: str) -> Path:
        """The file that keeps a machine's network namespace alive."""
        return _NAMESPACES / self.namespace(name)

    def veth(self, index: int) -> str:
        """The host's end of the link to machine number ``index``."""
        return f"{self.paths.tag}-{index}"

    def subnet(self) -> IPv4Network:
        """The network that the machines' addresses are from; chosen at the first call, and kept."""
        return IPv4Network(self._load()["subnet"])

    def address(self, index: int) -> str:
        """The address of machine number ``index``."""
        return str(self.subnet()[index])

    def allocate(self, taken: Iterable[int]) -> int:
        """Take the next free machine number."""
        with locked(self.paths.locks / "network"):
            kept = self._load_locked()
            index = next_index(taken, int(kept["last"]))
            self._save({**kept, "last": index})
        return index

    def _load(self) -> dict[str, Any]:
        try:
            return self._read()
        except FileNotFoundError:
            with locked(self.paths.locks / "network"):
                return self._load_locked()

    def _read(self) -> dict[str, Any]:
        text = self._file.read_text()
        try:
            kept: dict[str, Any] = json.loads(text)
            return {"subnet": str(IPv4Network(kept["subnet"])), "last": int(kept["last"])}
        except (ValueError, KeyError, TypeError) as error:
            raise TabletopError(
                f"{self._file} is spoilt ({error}): write into it the network that the machines' addresses are of, as "
                f'{{"subnet": "10.87.0.0/24", "last": 1}}, or begin anew with `tabletop destroy`.'
            ) from error

    def _load_locked(self) -> dict[str, Any]:
        try:
            return self._read()
        except FileNotFoundError:
            subnet = choose_subnet(networks_of_host(leaving_out=self.bridge))
            kept: dict[str, Any] = {"subnet": str(subnet), "last": _FIRST - 1}
            self._save(kept)
            return kept

    def _save(self, kept: dict[str, Any]) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.paths.state / "network.json"

    def ensure(self) -> None:
        """Make the bridge and the way out, where they are missing.

        Raises:
            TabletopError: another network of the host has come to overlap the machines'.
        """
        subnet = self.subnet()
        with locked(self.paths.locks / "bridge"):
            if not _link_exists(self.bridge):
                for network in networks_of_host(leaving_out=self.bridge):
                    if network.prefixlen > 0 and network.overlaps(subnet):
                        raise TabletopError(
                            f"The host now has a route to {network}, which overlaps the machines' network {subnet}: "
                            f"remove that route, or `tabletop destroy-model` and deploy again."
                        )
                _batch(
                    [
                        f"link add {self.bridge} mtu {uplink_mtu()} type bridge",
                        f"address add {subnet[1]}/{subnet.prefixlen} dev {self.bridge}",
                    ]
                )
            run(["ip", "link", "set", self.bridge, "up"])
            run(["nft", "--file", "-"], stdin=self._rules(subnet))

    def _rules(self, subnet: IPv4Network) -> str:
        return (
            f"table ip {self.table} {{\n"
            f"  chain postrouting {{\n"
            f"    type nat hook postrouting priority srcnat; policy accept;\n"
            f"  }}\n"
            f"}}\n"
            f"flush chain ip {self.table} postrouting\n"
            f"add rule ip {self.table} postrouting ip saddr {subnet} ip daddr != {subnet} masquerade\n"
        )

    def attach(self, name: str, index: int) -> None:
        """Make a machine's namespace, with its interface, address and routes; what is already there stays."""
        namespace = self.namespace(name)
        file = self.namespace_file(name)
        if not is_mounted(file):
            file.unlink(missing_ok=True)  # left by a host that keeps /run over a reboot
            run(["ip", "netns", "add", namespace])
        veth = self.veth(index)
        if _link_exists(INTERFACE, namespace):
            # The bridge may be a new one, made after someone removed the old one.
            run(["ip", "link", "set", veth, "master", self.bridge, "up"])
            return
        subnet = self.subnet()
        mtu = uplink_mtu()
        _batch(
            [
                f"link add {veth} mtu {mtu} type veth peer name {INTERFACE} mtu {mtu} netns {namespace}",
                f"link set {veth} master {self.bridge} up",
            ]
        )
        _batch(
            [
                "link set lo up",
                f"address add {subnet[index]}/{subnet.prefixlen} dev {INTERFACE}",
                f"link set {INTERFACE} up",
                f"route add default via {subnet[1]}",
            ],
            namespace,
        )

    def detach(self, name: str) -> bool:
        """Remove a machine's namespace, and its link with it.

        Returns:
            Whether there was one.
        """
        file = self.namespace_file(name)
        if not file.exists():
            return False
        if not succeeds(["ip", "netns", "delete", self.namespace(name)]):
            file.unlink(missing_ok=True)
        return True

    @property
    def partition(self) -> Partition:
        """Who is cut off from whom."""
        return Partition(self.table, self.subnet())

    def forward_names(self, server: str) -> str:
        """Let the machines ask a name server that listens on this host's own loopback.

        Args:
            server: its IPv4 address, such as 127.0.0.53.

        Returns:
            The address that they ask it at: the bridge's.
        """
        gateway = str(self.subnet()[1])
        # To be told of packets that came over the bridge, an address of the loopback must count as one of the bridge.
        Path(f"/proc/sys/net/ipv4/conf/{self.bridge}/route_localnet").write_text("1")
        table = f"ip {self.table}"
        lines = [
            f"add chain {table} prerouting {{ type nat hook prerouting priority dstnat; policy accept; }}",
            f"add chain {table} input {{ type nat hook input priority 100; policy accept; }}",
            f"flush chain {table} prerouting",
            f"flush chain {table} input",
            # A resolver on the loopback may answer only who asks from there.
            f"add rule {table} input ip saddr {self.subnet()} ip daddr {server} snat to 127.0.0.1",
        ]
        for protocol in ("udp", "tcp"):
            lines.append(
                f"add rule {table} prerouting iifname {self.bridge} ip daddr {gateway} {protocol} dport 53"
                f" dnat to {server}"
            )
        run(["nft", "--file", "-"], stdin="\n".join(lines) + "\n")
        return gateway

    def remove(self) -> list[str]:
        """Remove every namespace, link, the bridge and the rules, also those that no record tells of.

        Returns:
            What was removed, for a person to read.
        """
        removed: list[str] = []
        prefix = f"{self.paths.tag}-"
        for file in sorted(_NAMESPACES.glob(f"{prefix}*")):
            if self.detach(file.name.removeprefix(prefix)):
                removed.append(f"network namespace {file.name}")
        links: list[dict[str, Any]] = json.loads(run(["ip", "-json", "link", "show"]))
        for name in sorted(str(link["ifname"]) for link in links):
            # A link whose other end just went with its namespace may be listed a moment longer.
            ours = name == self.bridge or (name.startswith(prefix) and name.removeprefix(prefix).isdigit())
            if ours and succeeds(["ip", "link", "delete", name]):
                removed.append(f"network interface {name}")
        for family in ("ip", "bridge"):
            if succeeds(["nft", "delete", "table", family, self.table]):
                removed.append(f"nftables table {family} {self.table}")
        self._file.unlink(missing_ok=True)
        return removed


def uplink_mtu() -> int:
    """The packet size of the interface that the host's default route leaves by; the machines use the same."""
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]))
    if not routes or "dev" not in routes[0]:
        return 1500
    link: list[dict[str, Any]] = json.loads(run(["ip", "-json", "link", "show", "dev", str(routes[0]["dev"])]))
    return min(int(link[0]["mtu"]), 1500)


def _link_exists(name: str, namespace: str = "") -> bool:
    within = ["-netns", namespace] if namespace else []
    return succeeds(["ip", *within, "link", "show", "dev", name])


def _batch(lines: list[str], namespace: str = "") -> None:
    within = ["-netns", namespace] if namespace else []
    run(["ip", *within, "-batch", "-"], stdin="\n".join(lines) + "\n")
