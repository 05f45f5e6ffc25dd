"""Chromium over its DevTools pipe, for what Playwright keeps from happening.

Playwright makes every page believe that it is seen and has the focus, so none is ever hidden or
frozen there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Devtools", "open_devtools"]


class Devtools:
    """Commands of the DevTools protocol and their answers; events are passed over."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")
        self._number = 0

    def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        """The result of a command, for the whole browser or within a session."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, url: str) -> str:
        """A session with a new tab, which comes to the front."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.navigate", session, url=url)
        return str(session)

    def run(self, session: str, body: str) -> Any:
        """Run the body of an asynchronous JavaScript function in a tab."""
        expression = f"(async () => {{ {body} }})()"
        answer = self.call(
            *("Runtime.evaluate", session),
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self.call("Browser.close")
        self._commands.close()
        self._answers.close()

    def _read(self) -> bytes:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            message += byte
        return bytes(message)


@contextmanager
def open_devtools(chromium: str, profile: Path) -> Iterator[Devtools]:
    """A headless Chromium with a new profile."""
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    flags = "--headless --no-sandbox --no-first-run --disable-background-networking"
    # The browser's ends are its descriptors 3 and 4.
    script = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        [
            *("bash", "-c", script, chromium, *flags.split()),
            *("--remote-debugging-pipe", f"--user-data-dir={profile}"),
        ],
        pass_fds=(read_commands, write_answers),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    devtools = Devtools(commands, answers)
    try:
        yield devtools
        devtools.close()
    finally:
        process.terminate()
        process.wait(20)
