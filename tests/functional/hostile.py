"""Payloads that are not what they should be: good ones spoilt, and some that were made to do harm."""

import random
from collections.abc import Iterator

import cbor2

GOOD_JSON = (
    b'[{"bn":"node-1/","bt":1795000000.5,"n":"temperature","u":"Cel","v":21.5,"seq":7}]',
    b'[{"bn":"node-1/","n":"a","v":1},{"n":"b","vb":true},{"n":"c","vs":"text"},{"n":"d","vd":"AAEC"}]',
    b'[{"bn":"node-1/","bver":10,"bu":"m","bv":3,"n":"x","v":1e3,"t":-5,"ut":10}]',
)
GOOD_CBOR = (
    cbor2.dumps([{-2: "node-1/", -3: 1795000000.5, 0: "temperature", 1: "Cel", 2: 21.5}]),
    cbor2.dumps([{-2: "node-1/", 0: "a", 2: 1}, {0: "b", 4: True}, {0: "c", 3: "text"}]),
)
NASTY = (
    b"",
    b"\x00",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'[{"n":"node-1/x","v":' + b"9" * 5000 + b"}]",
    b'[{"n":"node-1/x","v":1e999}]',
    b'[{"n":"node-1/x","v":-1e-999}]',
    b'[{"n":"node-1/x","v":NaN}]',
    b'[{"n":"node-1/x","v":1,"t":1e308}]',
    b'[{"n":"' + b"n" * 100_000 + b'","v":1}]',
    b'[{"n":"node-1/\xed\xa0\x80","v":1}]',
    b'[{"n":"node-1/\\ud800","v":1}]',
    b'[{"n":"node-1/x","v":1,' + b",".join(b'"k%d":0' % number for number in range(5000)) + b"}]",
    b"[" + b",".join([b'{"n":"node-1/x","v":1}'] * 11_000) + b"]",
    b'[{"__proto__":{"n":1},"n":"node-1/x","v":1}]',
    b'[{"n":"node-1/../../etc/passwd","v":1}]',
    b"\x9f" * 5000,
    b"\xd8\x18" * 5000,
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xa1\x02\xc2\x5a\x7f\xff\xff\xff",
    b"\x81\xa1\x00\xd9\x01\x02\x80",
    b"\x81\xa2\x00\x68node-1/x\x02\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x81\xa2\x00\x68node-1/x\x02\xc4\x82\x01\x61x",
    b"\x81\xa2\x00\x68node-1/x\x02\xc5\x82\x1b\x00\x00\x00\xff\xff\xff\xff\xff\x01",
    b"\x81\xa2\x00\x68node-1/x\x02\xd8\x1e\x82\x01\x00",
    b"\x81\xa2\x00\x68node-1/x\x02\xd8\x23\x61(",
    b"\x81\xa2\x00\x68node-1/x\x03\xd8\x25\x01",
    bytes(range(256)) * 40,
    b"<" * 65_536,
    b'</1>;a="' * 8_000,
    b'{"id":"' + b"\\" * 65_536,
)


def payloads(seed: int, count: int) -> Iterator[bytes]:
    """Return spoilt payloads; one in a thousand is one of the nasty ones, which are large."""
    chance = random.Random(seed)
    good = GOOD_JSON + GOOD_CBOR
    for _ in range(count):
        if not chance.randrange(1000):
            yield chance.choice(NASTY)
            continue
        yield _spoilt(chance, bytearray(chance.choice(good)))


def _spoilt(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[at:at] = chance.choice((b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"null", b"-", b"\x00"))
            case 4:
                data = data[:at]
            case _:
                other = chance.choice(GOOD_JSON + GOOD_CBOR)
                data[at:at] = other[: chance.randrange(len(other))]
    return bytes(data)
