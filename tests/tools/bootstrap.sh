#!/bin/sh
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes .venv, or returns at once if it is complete. An existing .venv keeps its Python unless PYTHON names another.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${PYTHON:-}" ] && .venv/bin/python -c '' >/dev/null 2>&1; then
    exec .venv/bin/python tests/tools/bootstrap.py
fi
python=$(sh tests/tools/python.sh)
exec "$python" tests/tools/bootstrap.py
