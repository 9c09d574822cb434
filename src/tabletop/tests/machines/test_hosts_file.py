from pathlib import Path

from tabletop.hosts_file import (
    for_machines,
    has_server,
    loopback_server,
    resolv_conf_of_host,
    with_machines,
    write_inside,
    write_machines,
)

PLAIN = "127.0.0.1 localhost\n"


def test_names_are_put_in_renewed_and_taken_out() -> None:
    one = with_machines(PLAIN, {"a": "10.0.0.2"})
    assert one.startswith(PLAIN)
    assert "10.0.0.2 a\n" in one
    more = with_machines(one + "192.0.2.1 of-a-charm\n", {"a": "10.0.0.2", "b": "10.0.0.3"})
    assert more.count("10.0.0.2 a") == 1
    assert "10.0.0.3 b\n" in more
    assert more.endswith("192.0.2.1 of-a-charm\n")
    assert "10.0.0" not in with_machines(more, {})
    assert with_machines(one, {"a": "10.0.0.2"}) == one


def test_a_file_without_a_last_newline() -> None:
    assert with_machines("127.0.0.1 localhost", {}).startswith(PLAIN)


def test_a_hosts_file_is_written_only_if_it_changes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    write_machines(tmp_path, {"a": "10.0.0.2"})
    before = (tmp_path / "etc/hosts").stat()
    write_machines(tmp_path, {"a": "10.0.0.2"})
    after = (tmp_path / "etc/hosts").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert after.st_mode & 0o777 == 0o644
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["hosts"]


def test_no_link_of_a_machine_is_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    victim = tmp_path / "file-of-the-host"
    victim.write_text("untouched")
    for name in ("hosts", ".hosts.tabletop"):
        (tmp_path / "etc" / name).symlink_to(victim)
    write_machines(tmp_path, {"a": "10.0.0.2"})
    write_inside(tmp_path / "etc/hostname", "a\n")
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "etc/hosts").is_symlink()
    assert "untouched" not in (tmp_path / "etc/hosts").read_text()


def test_name_servers_on_the_host_s_loopback_are_left_out(tmp_path: Path) -> None:
    text = "# stub\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\nnameserver odd\nsearch example\n"
    assert for_machines(text) == "# stub\nnameserver 192.0.2.1\nnameserver odd\nsearch example\n"
    stub, real = tmp_path / "stub", tmp_path / "real"
    assert resolv_conf_of_host(stub, real) == ""
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("nameserver 192.0.2.53\n")
    assert resolv_conf_of_host(stub, real) == "nameserver 192.0.2.53\n"
    stub.write_text("nameserver 192.0.2.1\n")
    assert resolv_conf_of_host(stub, real) == "nameserver 192.0.2.1\n"


def test_the_name_server_on_the_host_s_own_loopback(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert loopback_server(file) is None
    file.write_text("# nameserver 192.0.2.1\nnameserver ::1\nnameserver 127.0.0.54\n")
    assert loopback_server(file) == "127.0.0.54"
    assert not has_server(for_machines(file.read_text()))
    assert has_server("search example\nnameserver 192.0.2.1\n")
