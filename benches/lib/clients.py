"""Thousands of logged-in clients in one process, spoken to over plain sockets.

pgbench cannot hold clients that do nothing, and a client library would need more memory and time than what is measured.
"""
import hashlib
import selectors
import socket
import struct
import time

from .postgres import DATABASE, HOST, PASSWORD, USER

# Protocol 3.0: https://www.postgresql.org/docs/current/protocol-message-formats.html
_PROTOCOL_3_0 = 196608
_MD5_PASSWORD = b"\0\0\0\5"
_READY_AND_IDLE = b"Z\0\0\0\5I"
BURST_ROWS = 200
BURST_ROW_BYTES = 1000


class WrongAnswer(Exception):
    """A client was refused, or received something else than the answer to its own question."""


def _log_in(port):
    client = socket.create_connection((HOST, port), timeout=30)
    parameters = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    client.sendall(struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3_0) + parameters)
    received = b""
    while not received.endswith(_READY_AND_IDLE):
        chunk = client.recv(8192)
        if not chunk or received[:1] == b"E" or (not received and chunk[:1] == b"E"):
            raise WrongAnswer(f"login refused: {received + chunk!r}")
        received += chunk
        if received[:1] == b"R" and len(received) >= 13 and received[5:9] == _MD5_PASSWORD:
            inner = hashlib.md5((PASSWORD + USER).encode()).hexdigest()
            answer = b"md5" + hashlib.md5(inner.encode() + received[9:13]).hexdigest().encode() + b"\0"
            client.sendall(b"p" + struct.pack("!i", len(answer) + 4) + answer)
            received = received[13:]
    return client


class Crowd:
    """`count` clients, logged in when this returns. A context manager: leaving it closes them all."""

    def __init__(self, port, count):
        self._clients = []
        try:
            for _ in range(count):
                self._clients.append(_log_in(port))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes every client's socket."""
        for client in self._clients:
            client.close()
        self._clients = []

    def burst(self, seconds_allowed=300):
        """Every client asks at once for about 200 kB of its own, then all answers are read and checked."""
        waiting = selectors.DefaultSelector()
        answers = {}
        for number, client in enumerate(self._clients):
            query = f"select {number}, repeat('x', {BURST_ROW_BYTES}) from generate_series(1, {BURST_ROWS})".encode() + b"\0"
            client.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
            client.setblocking(False)
            answers[client] = _Answer(number)
            waiting.register(client, selectors.EVENT_READ)
        until = time.monotonic() + seconds_allowed
        while answers:
            if time.monotonic() > until:
                raise WrongAnswer(f"{len(answers)} of {len(self._clients)} clients had no complete answer after {seconds_allowed} s")
            for key, _ in waiting.select(1):
                chunk = key.fileobj.recv(1 << 18)
                if not chunk:
                    raise WrongAnswer("a client was disconnected in the burst")
                if answers[key.fileobj].take(chunk):
                    waiting.unregister(key.fileobj)
                    answers.pop(key.fileobj).check()
        waiting.close()


class _Answer:
    """What one client has received: the beginning, the end and the length are enough to know it."""

    def __init__(self, number):
        self._number, self._head, self._tail, self._length = number, b"", b"", 0

    def take(self, chunk):
        """Adds what was received; true once the answer is complete."""
        self._length += len(chunk)
        if len(self._head) < 512:
            self._head = (self._head + chunk)[:512]
        self._tail = (self._tail + chunk[-6:])[-6:]
        return self._tail == _READY_AND_IDLE or self._head[:1] == b"E"

    def check(self):
        """`WrongAnswer` unless the first row carries this client's number and all rows are there."""
        if self._head[:1] != b"T":
            raise WrongAnswer(f"expected rows, got {self._head[:200]!r}")
        first_row = 1 + struct.unpack("!i", self._head[1:5])[0]
        # DataRow: type, length, number of columns, then the first column's length and bytes.
        column = first_row + 7
        length = struct.unpack("!i", self._head[column:column + 4])[0]
        value = self._head[column + 4:column + 4 + length]
        if value != str(self._number).encode() or self._length < BURST_ROWS * BURST_ROW_BYTES:
            raise WrongAnswer(f"client {self._number} received {self._length} bytes beginning with the row {value!r}")
