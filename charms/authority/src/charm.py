#!/usr/bin/env python3
"""The charm of a small certificate authority."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import ops
from charmlibs.interfaces.tls_certificates import (
    Certificate,
    ProviderCertificate,
    RequirerCertificateRequest,
    TLSCertificatesProvidesV4,
)
from pydantic import Field
from typing_extensions import override

from iot_charm.base import ReconcilingCharm, action
from iot_charm.config import CharmConfig, load_config
from iot_charm.errors import IotCharmError
from signing import Authority

logger = logging.getLogger(__name__)

CERTIFICATES = "certificates"
CA_SECRET, CERTIFICATE, KEY = "ca", "certificate", "private-key"


class NoAuthorityError(IotCharmError):
    """The authority can't be used here; the text says what to do."""


class AuthorityConfig(CharmConfig):
    """The charm's options."""

    ca_common_name: str = Field(min_length=1, max_length=64)
    certificate_days: int = Field(ge=1, le=3650)


@dataclass(frozen=True)
class State:
    """What the charm knows at one event."""

    config: AuthorityConfig
    authority: Authority | None


class AuthorityCharm(ReconcilingCharm[State]):
    """Signs what related applications ask for; the leader alone does."""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self._provider = TLSCertificatesProvidesV4(self, CERTIFICATES)
        self.follow(self.on.leader_elected)
        self.follow_relations(CERTIFICATES)
        framework.observe(self.on.smoke_test_action, self._on_smoke_test)
        framework.observe(self.on.get_ca_action, self._on_get_ca)
        framework.observe(self.on.issue_certificate_action, self._on_issue_certificate)
        framework.observe(self.on.reissue_certificates_action, self._on_reissue_certificates)

    @override
    def load_state(self) -> State:
        return State(load_config(self, AuthorityConfig), self._find())

    @override
    def apply(self, state: State, *, restart: bool) -> None:
        if not self.unit.is_leader():
            return
        authority = state.authority or self._make(state.config.ca_common_name)
        self._answer(self._provider.get_outstanding_certificate_requests(), authority, state.config.certificate_days)

    def _find(self) -> Authority | None:
        try:
            content = self.model.get_secret(label=CA_SECRET).peek_content()
        except ops.SecretNotFoundError:
            return None
        return Authority(content[CERTIFICATE], content[KEY])

    def _make(self, common_name: str) -> Authority:
        made = Authority.make(common_name)
        self.app.add_secret({CERTIFICATE: made.certificate, KEY: made.key}, label=CA_SECRET)
        logger.info("made an authority called %s", common_name)
        return made

    def _answer(self, requests: list[RequirerCertificateRequest], authority: Authority, days: int) -> None:
        ca = Certificate.from_string(authority.certificate)
        for request in requests:
            csr = request.certificate_signing_request
            certificate = authority.sign(csr, days)
            self._provider.set_relation_certificate(
                ProviderCertificate(request.relation_id, certificate, csr, ca, [certificate, ca])
            )
            logger.info("signed a certificate for %s, valid for %d days", csr.common_name, days)

    @override
    def statuses(self, state: State) -> Iterator[ops.StatusBase]:
        if not self.unit.is_leader():
            yield ops.ActiveStatus("Ready (the leader signs)")
            return
        issued = len(self._provider.get_issued_certificates())
        yield ops.ActiveStatus(f"Ready ({issued} certificate{'' if issued == 1 else 's'})")

    # Actions

    def _authority(self) -> tuple[Authority, int]:
        state = self.load_state()
        if not self.unit.is_leader() or state.authority is None:
            raise NoAuthorityError(f"the leader has the authority: juju run {self.app.name}/leader ...")
        return state.authority, state.config.certificate_days

    @action
    def _on_smoke_test(self, event: ops.ActionEvent) -> None:
        authority, _ = self._authority()
        certificate, _ = authority.issue("smoke-test", 1)
        if not authority.has_signed(certificate):
            event.fail(f"what is signed can't be verified: key and certificate in the secret {CA_SECRET} don't match")
            return
        days = (Certificate.from_string(authority.certificate).expiry_time - datetime.now(UTC)).days
        event.set_results(
            {"result": "passed", "signed": Certificate.from_string(certificate).common_name, "ca-days-left": days}
        )

    @action
    def _on_get_ca(self, event: ops.ActionEvent) -> None:
        event.set_results({"ca": self._authority()[0].certificate})

    @action
    def _on_issue_certificate(self, event: ops.ActionEvent) -> None:
        authority, days = self._authority()
        name: str = event.params["common-name"]
        certificate, key = authority.issue(name, days)
        logger.info("signed a certificate for %s, valid for %d days", name, days)
        event.set_results({"common-name": name, "certificate": certificate, "key": key, "ca": authority.certificate})

    @action
    def _on_reissue_certificates(self, event: ops.ActionEvent) -> None:
        authority, days = self._authority()
        requests = self._provider.get_certificate_requests()
        self._answer(requests, authority, days)
        event.set_results({"certificates": len(requests)})


if __name__ == "__main__":
    ops.main(AuthorityCharm)
