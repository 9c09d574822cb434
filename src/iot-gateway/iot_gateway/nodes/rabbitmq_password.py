"""Passwords as RabbitMQ keeps them: ``rabbit_password_hashing_sha256``, its default since 3.6.

The hash can be handed to the broker in place of the password (its management API's ``password_hash``), so that nobody
but the node has the password. Source: https://www.rabbitmq.com/docs/passwords
"""

import base64
import hashlib
import os

_SALT_SIZE = 4


def make(password: str) -> str:
    """Return the hash of a password, with a fresh salt: the salt and SHA-256 of both, in base64.

    One round, and a short salt: it is meant for passwords that are chance themselves.
    """
    salt = os.urandom(_SALT_SIZE)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
