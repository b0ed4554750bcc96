# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that these tests start leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tools import checkout

START = """
import sys, time
from pathlib import Path
from s3.servers import versitygw
with versitygw(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    time.sleep(60)
"""


def answers(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout.ROOT / "tests")}
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        url = starter.stdout.readline().strip()
        assert answers(url)
        starter.kill()
    end = time.monotonic() + 10
    while answers(url) and time.monotonic() < end:
        time.sleep(0.05)
    assert not answers(url)
