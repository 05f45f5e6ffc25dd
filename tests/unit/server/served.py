"""`mlr serve` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

__all__ = ["ServerProcess", "serve_command"]


def serve_command(*arguments: str | Path) -> list[str]:
    """The command line of `mlr serve`."""
    return [sys.executable, "-m", "mlr", "serve", *map(str, arguments)]


class ServerProcess:
    """Starts the server and waits until it says where it is; stops it at the end."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            serve_command(*arguments, "--port", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.greeting = ""
        while "API: " not in self.greeting:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.process.communicate()[1]}"
            self.greeting += line
        match = re.search(r"Playground: (http://.*:\d+)/", self.greeting)
        assert match
        self.url = match[1]

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)

    def client(self) -> httpx.Client:
        """An HTTP client of the server."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; the exit status and what was written to standard error."""
        self.process.send_signal(number)
        try:
            _, err = self.process.communicate(timeout=20)
        finally:
            self.process.kill()
        return self.process.returncode, err
