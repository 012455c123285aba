"""The MLflow pages, on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

from wmzoo import tracking, views
from wmzoo.errors import FailedError, WmzooError
from wmzoo.interrupts import terminated_is_interrupted

HOST = "127.0.0.1"
GRACE = 3.0  # seconds for the server to end by itself


def serve(uri: str, port: int) -> None:
    """Serve the pages until interrupted.

    Args:
        uri: of the tracking store.
        port: on 127.0.0.1.

    Raises:
        WmzooError: the port is taken, or the store can't be opened.
        FailedError: MLflow's server ended by itself, with an error.
    """
    if not 0 < port < 65536:
        raise WmzooError(f"--port: {port} is no port; choose one from 1024 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise WmzooError(f"port {port} can't be used ({error.strerror}); choose another with --port.") from error
    found = views.links(tracking.client(uri), f"http://{HOST}:{port}")
    print(f"http://{HOST}:{port} in about ten seconds; Ctrl-C ends it.")
    print("\n".join(f"  {name}: {link}" for name, link in found.items()), flush=True)
    store = ["--backend-store-uri", tracking.absolute(uri), "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", *store]
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # so that Ctrl-C is ours alone
    try:
        with terminated_is_interrupted():
            code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        _end(server)
    if code:
        raise FailedError(f"the pages could not be served (code {code}); read above why.")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End MLflow's server with the processes that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
