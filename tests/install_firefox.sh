#!/bin/sh
# Make sure that the tests have a Firefox: one that is there, else Debian's where we may install
# it. Without any, the tests in it are skipped (in CI they fail).
set -eu

found() {
    command -v "${MLR_FIREFOX:-firefox-esr}" || { [ -z "${MLR_FIREFOX:-}" ] && command -v firefox; }
}

if ! found >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's firefox-esr …"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends firefox-esr; } >/dev/null || true
fi
if path=$(found); then
    echo "Firefox: $path"
else
    echo "No Firefox could be installed, so the tests in it will be skipped. Install one" >&2
    echo "(Debian: apt-get install firefox-esr) or set MLR_FIREFOX to the program's path." >&2
fi
