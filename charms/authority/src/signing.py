"""The authority: its key and certificate, and what it signs. Imports no ops."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    CertificateSigningRequest,
    KeyAlgorithm,
    PrivateKey,
)
from cryptography import x509
from cryptography.exceptions import InvalidSignature

CA_VALIDITY = timedelta(days=3650)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, PEM."""

    certificate: str
    key: str = field(repr=False)

    @classmethod
    def make(cls, common_name: str) -> Self:
        """Make an authority."""
        key = PrivateKey.generate(key_algorithm=KeyAlgorithm.ECDSA)
        wanted = CertificateRequestAttributes(common_name, is_ca=True)
        return cls(str(Certificate.generate_self_signed_ca(wanted, key, CA_VALIDITY)), str(key))

    def sign(self, request: CertificateSigningRequest, days: int) -> Certificate:
        """Return the certificate that is asked for."""
        ca, key = Certificate.from_string(self.certificate), PrivateKey.from_string(self.key)
        return request.sign(ca, key, timedelta(days=days), is_ca=False)

    def issue(self, common_name: str, days: int) -> tuple[str, str]:
        """Return a certificate for ``common_name`` and its key, PEM."""
        key = PrivateKey.generate(key_algorithm=KeyAlgorithm.ECDSA)
        wanted = CertificateRequestAttributes(common_name, add_unique_id_to_subject_name=False)
        return str(self.sign(wanted.generate_csr(key), days)), str(key)

    def has_signed(self, certificate: str) -> bool:
        """Tell whether a certificate (PEM) is of this authority, by its signature."""
        given, own = (x509.load_pem_x509_certificate(text.encode()) for text in (certificate, self.certificate))
        try:
            given.verify_directly_issued_by(own)
        except (ValueError, InvalidSignature):
            return False
        return True
