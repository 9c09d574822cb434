"""Takes a file in HDFS from its writer: the one call that WebHDFS lacks.

The NameNode's ``recoverLease`` is reached over Hadoop's own RPC, of which this speaks as much as one call needs: simple
authentication, the connection's header and context (``RpcHeader.proto``, ``IpcConnectionContext.proto``), one request
(``ProtobufRpcEngine.proto``, ``ClientNamenodeProtocol.proto``) and its answer.
"""

import socket
import uuid

from iot_charm.errors import IotCharmError

PROTOCOL = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
_PREAMBLE = b"hrpc" + bytes([9, 0, 0])
"""Version 9, default service class, no authentication."""
_CONTEXT_CALL = -3
_MOST_BYTES = 1 << 20
"""Longest answer that is believed."""


class LeaseError(IotCharmError):
    """The NameNode did not do what was asked, or was not there to ask."""


def recover(host: str, port: int, path: str, *, user: str, timeout_s: float = 60) -> bool:
    """Have HDFS take a file from whoever writes it, agree with the DataNodes on its length, and close it.

    Args:
        host: of the NameNode.
        port: of its RPC.
        path: of the file.
        user: to act as, one that may write the file.
        timeout_s: for the answer.

    Returns:
        Whether the file is closed; else HDFS is about it, and a later call will tell.

    Raises:
        LeaseError: the NameNode refused, or did not answer.
    """
    client = uuid.uuid4().bytes
    context = _frame(
        _request_header(_CONTEXT_CALL, client), _field(2, _field(1, user.encode())) + _field(3, PROTOCOL.encode())
    )
    method = _field(1, b"recoverLease") + _field(2, PROTOCOL.encode()) + _number(3, 1)
    request = _field(1, path.encode()) + _field(2, f"recovery-{uuid.uuid4()}".encode())
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(_PREAMBLE + context + _frame(_request_header(0, client), method, request))
            size = int.from_bytes(_exactly(connection, 4), "big")
            if size > _MOST_BYTES:
                raise LeaseError(f"{host}:{port} does not speak Hadoop's RPC")
            return _result(_exactly(connection, size), path)
    except (OSError, EOFError) as error:
        raise LeaseError(f"NameNode {host}:{port} does not answer: {error or type(error).__name__}") from error
    except (IndexError, ValueError) as error:
        raise LeaseError(f"{host}:{port} does not speak Hadoop's RPC: {error}") from error


def _result(answer: bytes, path: str) -> bool:
    header, position = _delimited(answer, 0)
    fields = _fields(header)
    if fields.get(2, 0) != 0:
        reason = fields.get(5, fields.get(4, b""))
        text = reason.decode(errors="replace").partition("\n")[0] if isinstance(reason, bytes) else ""
        raise LeaseError(f"{path}: {text or 'the NameNode refused'}")
    body, _ = _delimited(answer, position)
    return _fields(body).get(1, 0) == 1


def _request_header(call: int, client: bytes) -> bytes:
    kind_protobuf, final_packet = 2, 0
    retries = -1
    return (
        _number(1, kind_protobuf)
        + _number(2, final_packet)
        + _number(3, _zigzag(call))
        + _field(4, client)
        + _number(5, _zigzag(retries))
    )


def _frame(*messages: bytes) -> bytes:
    body = b"".join(_varint(len(message)) + message for message in messages)
    return len(body).to_bytes(4, "big") + body


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise EOFError("it closed the connection")
        received += piece
    return bytes(received)


# Protocol Buffers, as much as is needed here: varints and length-delimited fields.


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else ((-number) << 1) - 1


def _varint(number: int) -> bytes:
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(coded) + bytes([number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _delimited(data: bytes, position: int) -> tuple[bytes, int]:
    size, position = _read_varint(data, position)
    if len(data) < position + size:
        raise ValueError("a message that is cut off")
    return data[position : position + size], position + size


def _fields(message: bytes) -> dict[int, int | bytes]:
    found: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        value: int | bytes
        if key & 7 == 0:
            value, position = _read_varint(message, position)
        elif key & 7 == 2:
            value, position = _delimited(message, position)
        else:
            raise ValueError(f"a field of wire type {key & 7}")
        found[key >> 3] = value
    return found
