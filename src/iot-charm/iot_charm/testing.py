"""For unit tests of charms: an authority that answers over a relation ``tls-certificates``, and a systemd in memory.

No charm imports it.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    CertificateSigningRequest,
    PrivateKey,
)
from ops import testing

from iot_charm import services

if TYPE_CHECKING:
    import pytest


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "authority", days: int = 30):
        self._validity = timedelta(days=days)
        self._key = PrivateKey.generate()
        request = CertificateRequestAttributes(name, is_ca=True)
        self._certificate = Certificate.generate_self_signed_ca(request, self._key, self._validity)

    @property
    def ca(self) -> str:
        """The authority's own certificate, PEM."""
        return str(self._certificate)

    def sign(self, request: CertificateSigningRequest, *, days: int | None = None) -> Certificate:
        """Return a certificate as requested."""
        validity = self._validity if days is None else timedelta(days=days)
        return request.sign(self._certificate, self._key, validity, is_ca=False)

    def issue(self, common_name: str, **names: Any) -> tuple[str, str]:
        """Return a certificate and its key, PEM; ``names`` are those of CertificateRequestAttributes."""
        key = PrivateKey.generate()
        return str(self.sign(CertificateRequestAttributes(common_name, **names).generate_csr(key))), str(key)

    def answer(self, relation: testing.Relation) -> testing.Relation:
        """Return the relation with a certificate for all that the unit asks for in it."""
        certificates = [
            {
                "ca": self.ca,
                "certificate_signing_request": asked,
                "certificate": (made := str(self.sign(CertificateSigningRequest.from_string(asked)))),
                "chain": [made, self.ca],
            }
            for asked in asked_for(relation.local_unit_data)
        ]
        return dataclasses.replace(relation, remote_app_data={"certificates": json.dumps(certificates)})


def asked_for(databag: Mapping[str, str]) -> list[str]:
    """Return the requests in a requirer's databag, PEM."""
    requests: list[dict[str, str]] = json.loads(databag.get("certificate_signing_requests", "[]"))
    return [request["certificate_signing_request"] for request in requests]


class Systemd:
    """A systemd that knows which services run, in the place of the library's functions."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.enabled: set[str] = set()
        self.calls: list[str] = []
        """Function and service, as ``service_start x``."""

    @classmethod
    def put_in_place(cls, patch: "pytest.MonkeyPatch", directory: Path) -> Self:
        """Have :mod:`iot_charm.services` use one, with unit files and stamps below a directory of the test's."""
        made = cls()
        patch.setattr(services, "systemd", made)
        for name in ("UNIT_DIRECTORY", "STARTED_FROM"):
            patch.setattr(services, name, directory / name.lower())
        services.UNIT_DIRECTORY.mkdir()
        return made

    def service_running(self, name: str) -> bool:
        """Tell whether it was started and not stopped."""
        return name in self.running

    def service_start(self, name: str) -> bool:
        """Have it running."""
        self.running.add(name)
        return self._done("service_start", name)

    def service_restart(self, name: str) -> bool:
        """Have it running."""
        self.running.add(name)
        return self._done("service_restart", name)

    def service_stop(self, *names: str) -> bool:
        """Have them not running."""
        self.running -= {*names}
        return self._done("service_stop", *names)

    def service_reload(self, name: str) -> bool:
        """Note the call."""
        return self._done("service_reload", name)

    def service_enable(self, name: str) -> bool:
        """Have it started with the machine."""
        self.enabled.add(name)
        return self._done("service_enable", name)

    def service_disable(self, name: str) -> bool:
        """Have it not started with the machine."""
        self.enabled.discard(name)
        return self._done("service_disable", name)

    def daemon_reload(self) -> bool:
        """Note the call."""
        return self._done("daemon_reload")

    def _done(self, *words: str) -> bool:
        self.calls.append(" ".join(words))
        return True
