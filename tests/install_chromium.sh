#!/bin/sh
# Make sure that the tests have a Chromium: one that is there, else Debian's where we may install
# it, else Playwright's own. Without any, the browser tests are skipped (in CI they fail).
# PYTHON names the interpreter that has Playwright.
set -eu

found() {
    "$PYTHON" -c 'import sys; sys.path.insert(0, "tests"); import conftest
path = conftest.find_chromium(); print(path or "", end=""); sys.exit(path is None)'
}

if path=$(found); then
    echo "Chromium: $path"
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's chromium …"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends chromium; } >/dev/null || true
fi
found >/dev/null || "$PYTHON" -m playwright install chromium || true
if path=$(found); then
    echo "Chromium: $path"
else
    echo "No Chromium could be installed, so the browser tests will be skipped. Install one" >&2
    echo "(Debian: apt-get install chromium) or set MLR_CHROMIUM to the program's path." >&2
fi
