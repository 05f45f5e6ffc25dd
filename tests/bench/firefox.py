"""A Firefox whose page does what it is asked.

It is not driven over WebDriver: with that listening, now and then a worker that starts many
workers hangs, and what listens takes memory. The page asks a server here what to do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from tests.bench.file_server import Answers
from tests.edge.hosts import FIREFOX_PREFERENCES

__all__ = ["FirefoxPage", "open_firefox"]

START_SECONDS = 120
ANSWER_SECONDS = 900
REMOTE = "?remote"
# Nothing that starts, fetches or tidies up by itself while memory is measured.
QUIET_PREFERENCES = (
    '"app.normandy.enabled", false',
    '"app.update.enabled", false',
    '"browser.newtab.preload", false',
    '"browser.newtabpage.enabled", false',
    '"browser.safebrowsing.downloads.enabled", false',
    '"browser.safebrowsing.malware.enabled", false',
    '"browser.safebrowsing.phishing.enabled", false',
    '"browser.sessionstore.resume_from_crash", false',
    '"browser.startup.page", 0',
    '"datareporting.healthreport.uploadEnabled", false',
    '"dom.ipc.processPrelaunch.enabled", false',
    '"extensions.systemAddon.update.enabled", false',
    '"extensions.update.enabled", false',
    '"media.gmp-manager.updateEnabled", false',
    '"network.connectivity-service.enabled", false',
    '"network.process.enabled", false',
    '"services.settings.server", "data:,none"',
    '"toolkit.startup.max_resumed_crashes", -1',
    '"toolkit.telemetry.enabled", false',
    '"toolkit.telemetry.unified", false',
)


class FirefoxPage:
    """A page that has `pages/remote.mjs`; its methods are those of Playwright's pages."""

    def __init__(self) -> None:
        self._asked: Queue[dict[str, Any]] = Queue()
        self._answered: Queue[Any] = Queue()

    def exchange(self, body: bytes) -> bytes:
        """What the page is to do next, for what it has done."""
        self._answered.put(json.loads(body))
        return json.dumps(self._asked.get()).encode()

    def goto(self, url: str) -> None:
        """Open another page; the one that is left says nothing any more."""
        leave = "(url) => { location.href = url; return new Promise(() => undefined); }"
        self._asked.put({"expression": leave, "argument": url + REMOTE})
        self.wait()

    def wait(self) -> None:
        """Until a page is there."""
        self._answered.get(timeout=START_SECONDS)

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """What a JavaScript function gives, or its promise."""
        self._asked.put({"expression": expression, "argument": argument})
        answer = self._answered.get(timeout=ANSWER_SECONDS)
        if "error" in answer:
            raise RuntimeError(f"the page in Firefox: {answer['error']}")
        return answer["value"]


@contextmanager
def open_firefox(
    program: str, url: str, answers: Answers, profile: Path
) -> Iterator[tuple[FirefoxPage, set[int]]]:
    """The page at `url` in a new Firefox, and the process that all of Firefox is under.

    `answers` are those of the server of `url`.
    """
    page = FirefoxPage()
    answers["/remote"] = page.exchange
    profile.mkdir(parents=True, exist_ok=True)
    preferences = (*FIREFOX_PREFERENCES, *QUIET_PREFERENCES)
    (profile / "user.js").write_text("".join(f"user_pref({one});\n" for one in preferences))
    command = [program, "--headless", "--no-remote", "--profile", str(profile), url + REMOTE]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page.wait()
        yield page, {process.pid}
    finally:
        process.terminate()
        process.wait(30)
