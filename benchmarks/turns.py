"""Contenders in processes of their own: each is set up as its users run it, and they are timed in turns."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

OURS = "mobilenet_tf"
ONE_DNN = "TF_ENABLE_ONEDNN_OPTS"  # what `import mobilenet_tf` sets in a fresh process


def start(serve: Callable, keys: Iterable[str], *arguments, ours: Iterable[str] = (OURS,)) -> dict[str, Connection]:
    """{contender: connection to its process}, which runs serve(connection, contender, *arguments).

    `serve` replies to what it receives until it receives None. `ours`: the contenders that run in this package's
    environment, with oneDNN on; the others keep TensorFlow's default.
    """
    context, connections = multiprocessing.get_context("spawn"), {}
    for key in keys:
        os.environ.pop(ONE_DNN, None)
        if key in ours:
            os.environ[ONE_DNN] = "1"
        connections[key], end = context.Pipe()
        context.Process(target=serve, args=(end, key, *arguments), daemon=True).start()
        end.close()
    return connections


def ask(connection: Connection, order):
    connection.send(order)
    return connection.recv()


def stop(connections: dict[str, Connection]) -> None:
    for connection in connections.values():
        connection.send(None)
