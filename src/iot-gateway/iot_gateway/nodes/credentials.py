"""Hashed secrets, in mosquitto's format: ``$7$<iterations>$<salt>$<hash>``, PBKDF2 with SHA-512 (RFC 8018).

A credential can so move between mosquitto's password file and the gateway's, either way.
"""

import base64
import hashlib
import hmac
import os

ITERATIONS = 101
"""Mosquitto's number. Secrets are made by machines, 256 bits of chance, and no number of iterations adds to that; but
ten thousand nodes that return after a power cut are checked one by one, on a small board."""
_MOST_ITERATIONS = 10_000_000
_KIND = "7"
_SALT_SIZE, _HASH_SIZE = 12, 64


def make(secret: str | bytes, *, iterations: int = ITERATIONS) -> str:
    """Return the credential of a secret, with a fresh salt."""
    salt = os.urandom(_SALT_SIZE)
    digest = hashlib.pbkdf2_hmac("sha512", _bytes(secret), salt, iterations, _HASH_SIZE)
    return f"${_KIND}${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def fits(credential: str, secret: str | bytes) -> bool:
    """Tell whether a secret is the credential's; a credential that can't be read fits none."""
    try:
        iterations, salt, expected = _parts(credential)
        made = hashlib.pbkdf2_hmac("sha512", _bytes(secret), salt, iterations, len(expected))
    except ValueError:
        return False
    return hmac.compare_digest(made, expected)


def is_credential(text: str) -> bool:
    """Tell whether ``text`` can be read as a credential."""
    try:
        _parts(text)
    except ValueError:
        return False
    return True


def _parts(credential: str) -> tuple[int, bytes, bytes]:
    empty, kind, iterations, salt, digest = credential.split("$")
    count = int(iterations)
    decoded = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    if empty or kind != _KIND or not 1 <= count <= _MOST_ITERATIONS or not all(decoded):
        raise ValueError("no credential of this format")
    return count, *decoded


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret
