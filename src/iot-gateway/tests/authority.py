"""An authority of certificates, for tests of TLS."""

from datetime import timedelta
from pathlib import Path

from charmlibs.interfaces.tls_certificates import Certificate, CertificateRequestAttributes, PrivateKey

DAY = timedelta(days=1)


class Authority:
    """An authority, and a server's certificate by it."""

    def __init__(self, directory: Path, name: str, address: str):
        key, own = PrivateKey.generate(), PrivateKey.generate()
        authority = Certificate.generate_self_signed_ca(CertificateRequestAttributes(name, is_ca=True), key, DAY)
        request = CertificateRequestAttributes("broker", sans_ip=[address]).generate_csr(own)
        self.ca, self.served, self.key = (directory / f"{name}.{kind}" for kind in ("ca", "pem", "key"))
        self.ca.write_text(str(authority))
        self.served.write_text(str(request.sign(authority, key, DAY, is_ca=False)))
        self.key.write_text(str(own))
