"""A unit's own certificate, from whoever is related over ``tls-certificates``.

The key is made here and stays here, in a secret of the unit; the library asks again in time, before a certificate
expires. What is asked for is told at every event, so that a unit whose addresses changed gets another certificate.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

import ops
from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    KeyAlgorithm,
    ProviderCapabilities,
    ProviderCertificate,
    TLSCertificatesError,
    TLSCertificatesRequiresV4,
)

from iot_charm.errors import IotCharmError

_MAX_COMMON_NAME = 64
"""RFC 5280, ub-common-name."""


class CertificateRequestError(IotCharmError):
    """No certificate can be asked for, or none is given; the text says why."""


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to say."""

    common_name: str
    names: frozenset[str] = field(default_factory=frozenset[str])
    """Host names and IP addresses by which the unit is reached."""

    def request(self) -> CertificateRequestAttributes:
        """Return what the library asks for."""
        addresses = frozenset(name for name in self.names if _is_address(name))
        return CertificateRequestAttributes(
            common_name=self.common_name[:_MAX_COMMON_NAME],
            sans_ip=addresses or None,
            sans_dns=(self.names - addresses) or None,
        )


@dataclass(frozen=True)
class Material:
    """A certificate and all that belongs to it, PEM."""

    certificate: str
    """With those that lead to its authority, without that one itself."""
    key: str
    ca: str

    @classmethod
    def of(cls, assigned: ProviderCertificate, key: str) -> Self:
        """Make it of what the library has."""
        chain = [str(assigned.certificate)]
        chain += [str(each) for each in assigned.chain if str(each) not in (*chain, str(assigned.ca))]
        return cls("\n".join(chain) + "\n", key.strip() + "\n", str(assigned.ca) + "\n")

    def __repr__(self) -> str:
        """Keep the key out of logs."""
        return f"Material({Certificate.from_string(self.certificate).common_name!r}, ...)"


class UnitCertificate:
    """The certificate of this unit."""

    def __init__(self, charm: ops.CharmBase, endpoint: str, wanted: Callable[[], Wanted]):
        """Follow the relation.

        Args:
            charm: whose unit.
            endpoint: of the relation.
            wanted: says what the certificate is to say, at each event.
        """
        self._charm = charm
        self._endpoint = endpoint
        self._wanted = wanted
        self._requirer = TLSCertificatesRequiresV4(
            charm, endpoint, certificate_requests=self._requests, key_algorithm=KeyAlgorithm.ECDSA
        )

    def _requests(self, _: ProviderCapabilities | None) -> list[CertificateRequestAttributes]:
        return [self._wanted().request()]

    @property
    def is_related(self) -> bool:
        """Whether somebody is related who can give a certificate."""
        return any(relation.active for relation in self._charm.model.relations[self._endpoint])

    def ask(self) -> None:
        """Ask for a certificate, if what is there does not say what it should.

        Raises:
            CertificateRequestError: there can be no such certificate.
        """
        if not self.is_related:
            return
        try:
            self._requirer.sync()
        except TLSCertificatesError as error:
            raise CertificateRequestError(f"no certificate for {self._wanted()} can be asked for: {error}") from error

    def find(self) -> Material | None:
        """Return the certificate; None while there is none that says what it should.

        Raises:
            CertificateRequestError: it was refused.
        """
        if not self.is_related:
            return None
        assigned, key = self._requirer.get_assigned_certificate(self._wanted().request())
        if assigned is not None and key is not None:
            return Material.of(assigned, str(key))
        for refusal in self._requirer.get_request_errors():
            raise CertificateRequestError(f"no certificate is given ({self._endpoint}): {refusal.error.message}")
        return None


def names(*groups: Iterable[str]) -> frozenset[str]:
    """Return the names that are given, without empty ones and what nobody else can reach."""
    return frozenset(name for group in groups for name in group if name and not _is_loopback(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
