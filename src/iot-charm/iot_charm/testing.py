"""For unit tests of charms: an authority that answers over a relation ``tls-certificates``. No charm imports it."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    CertificateSigningRequest,
    PrivateKey,
)
from ops import testing


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
