#!/bin/sh
# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Resolves requirements/*.in into requirements/*.lock: one file for Python 3.11 to 3.14, every file with its hashes.
# uv, because pip cannot resolve for other Python versions than its own.
set -eu
cd "$(dirname "$0")/../.."
[ -x .venv-lock/bin/uv ] || .venv/bin/python -m venv .venv-lock
.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary=:all: -r requirements/uv.lock

# $1: name, $2: oldest Python, rest: options. Hashes and markers only: no header, no index address.
resolve() {
    name=$1 python=$2
    shift 2
    echo "requirements/$name.lock"
    .venv-lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --no-header \
        --python-version "$python" "$@" "requirements/$name.in" --output-file "requirements/$name.lock"
}

resolve dev 3.11
resolve optional 3.11
resolve galaxy-importer 3.11
resolve uv 3.11
# The `ansible` wheel is only a container for collections: none of its dependencies are wanted.
resolve collections 3.12 --no-deps
