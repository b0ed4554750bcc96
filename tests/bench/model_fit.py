# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_fit on the headers of a 70B model in 30 files on S3: seconds of the whole module process, and bytes read.

The server is a real one on loopback (versitygw over a directory); the weights are holes in its files.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from ansible_collections.llmstack.serving.plugins.module_utils import _model_tensors  # noqa: E402 - the path is set above
from ansible_collections.llmstack.serving.plugins.module_utils._model_architectures import describe  # noqa: E402
from sandbox import binaries, go  # noqa: E402
from tools import checkpoints  # noqa: E402

SHARDS = 30
RUNS = 5
MODULE = """
import sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llmstack.serving.plugins.modules import model_fit
import json
with patch_module_args(json.loads(sys.argv[1])):
    model_fit.main()
"""


def show(measure: str, value: float, unit: str, limit: float) -> None:
    result = {"bench": "model_fit", "measure": measure, "value": round(value, 2), "unit": unit}
    print(json.dumps({**result, "against": f"limit {limit:g} {unit}", "ratio": round(value / limit, 2)}), flush=True)


def module(**params: Any) -> tuple[dict[str, Any], float]:
    """The result of the module in a process of its own, and the seconds that took."""
    args = {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **params}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'playbooks' / 'collections'}"}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MODULE, json.dumps(args)], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - begin
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout), seconds


def main() -> None:
    config = checkpoints.LLAMA_3_1_70B
    shapes = [(tensor.name, tensor.dtype, tensor.shape) for tensor in _model_tensors.expected(describe(config))]
    server = go.ensure([binaries.ALL["versitygw"]])["versitygw"]
    with tempfile.TemporaryDirectory(prefix="llmstack-bench-") as folder:
        checkpoints.write(Path(folder, "models", "llama-70b"), config, shapes, SHARDS)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        secret = secrets.token_hex(16)
        environment = {**os.environ, "ROOT_ACCESS_KEY": "bench", "ROOT_SECRET_KEY": secret}
        command = [str(server), "--port", f"127.0.0.1:{port}", "--health", "/health", "posix", folder]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait(f"http://127.0.0.1:{port}/health")
                measure(f"http://127.0.0.1:{port}", secret)
            finally:
                process.terminate()


def wait(url: str) -> None:
    for _attempt in range(100):
        try:
            with urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    sys.exit("versitygw did not start within 5 s.")


def measure(endpoint: str, secret: str) -> None:
    seconds = []
    for _run in range(RUNS):
        result, took = module(
            model="s3://models/llama-70b",
            gpu={"product": "NVIDIA-H100-80GB-HBM3"},
            tensor_parallel_size=4,
            endpoint_url=endpoint,
            access_key="bench",
            secret_key=secret,
        )
        assert result["weights_total_gib"] == 131.42, result
        seconds.append(took)
    show(f"70B model, {SHARDS} files on S3, median of {RUNS}", statistics.median(seconds), "s", 2)
    show("bytes read of 141 GB", result["bytes_read"] / 1e6, "MB", 20)


if __name__ == "__main__":
    main()
