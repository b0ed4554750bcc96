#!/bin/sh
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Prints the Python to build .venv with: $PYTHON if set, otherwise the newest supported one that really RUNS.
# `command -v` is not enough: version managers leave shims on PATH for versions that are not there.
set -u
# The locks in requirements/ are resolved for these versions.
probe='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14)); '

if [ -n "${PYTHON:-}" ]; then
    if "$PYTHON" -c "$probe" >/dev/null 2>&1; then
        command -v "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a working Python 3.11 to 3.14: name one that is, or leave PYTHON unset." >&2
    exit 1
fi

for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if "$candidate" -c "$probe" >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
echo "No working Python 3.11 to 3.14 found: install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it with 'make PYTHON=/path/to/python3 ...'." >&2
exit 1
