"""The MLflow pages, on 127.0.0.1 only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from wmzoo import tracking, views
from wmzoo.errors import WmzooError

HOST = "127.0.0.1"


def serve(uri: str, port: int) -> None:
    """Serve the pages until interrupted.

    Args:
        uri: of the tracking store.
        port: on 127.0.0.1.

    Raises:
        WmzooError: the port is taken, or the store can't be opened.
    """
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
    subprocess.run([sys.executable, "-m", "mlflow", "server", *store], env=environment, check=False)
