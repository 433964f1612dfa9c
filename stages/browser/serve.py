"""Serve a folder to the browser on this computer, and to nothing else."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stages.base.errors import UserError

HOST = "127.0.0.1"


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server for a folder, which ``serve_forever`` starts.

    Args:
        folder: to serve.
        port: to listen on; 0: any that is free.

    Raises:
        UserError: the port is in use, or not allowed.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"--port {port}: {(error.strerror or str(error)).lower()}. Choose another, or none, for any that is free."
        ) from None


class _Handler(SimpleHTTPRequestHandler):
    """Files, with the types that browsers insist on, and isolated from other sites, which threads in a page require."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Add the headers of every answer."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")  # the model may be another at the next start
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name in the standard library
        """Print nothing."""
