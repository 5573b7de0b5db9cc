"""A proxy command: connects standard input and output with HOST PORT."""

from __future__ import annotations

import os
import socket
import sys
import threading


def _up(connection: socket.socket) -> None:
    while data := os.read(0, 65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
        threading.Thread(target=_up, args=(server,), daemon=True).start()
        while received := server.recv(65536):
            os.write(1, received)
