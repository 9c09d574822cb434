from pathlib import Path

from tabletop.image_content import do_without_credentials


def test_services_go_without_credentials_under_emulation(tmp_path: Path) -> None:
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (units / "plain.service").write_text("[Service]\nExecStart=/bin/true\n# LoadCredential=remark\n")
    (units / "loads.service").write_text("[Service]\nLoadCredential=one\nLoadCredential=two\nImportCredential=x.*\n")
    (units / "alias.service").symlink_to("loads.service")
    do_without_credentials(tmp_path)
    (found,) = tmp_path.glob("etc/systemd/system/*/*")
    assert found.relative_to(tmp_path).as_posix() == "etc/systemd/system/loads.service.d/tabletop.conf"
    assert found.read_text() == "[Service]\nLoadCredential=\nImportCredential=\n"
