# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod of the load test runs: `python3 -m ..._load_pod INPUTS SECRETS` (folders). PRIVATE to the collection.

It has nothing but Python and the files that _load_job names; it speaks in lines that _load_job understands.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

from ansible_collections.llmstack.serving.plugins.module_utils import _load_client, _load_job, _load_test
from ansible_collections.llmstack.serving.plugins.module_utils._load_errors import LoadError


def main(inputs_folder: str, secrets_folder: str) -> None:
    inputs = _load_job.unpack((pathlib.Path(inputs_folder) / "inputs").read_bytes())
    secrets = json.loads((pathlib.Path(secrets_folder) / "secrets").read_text())
    try:
        with tempfile.TemporaryDirectory() as folder:
            params = {**inputs["params"], **secrets}
            for name, text in inputs["files"].items():
                path = pathlib.Path(folder) / name
                path.write_text(text)
                params[name] = str(path)
            plan = _load_test.plan(params)
            target = _load_client.target(
                params["url"],
                params["connect_to"],
                params["host_header"],
                params["endpoint_api_key"],
                params["endpoint_headers"],
                params["endpoint_ca_cert"],
                params["endpoint_validate_certs"],
            )
            document = _load_test.run(plan, target, lambda text: _say(f"progress {text}"))
    except LoadError as error:
        spoken = _load_job.lines("error", str(error))
    else:
        spoken = _load_job.lines("result", document)
    _say("\n".join(spoken))


def _say(text: str) -> None:
    """To the pod's log, where the module reads it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
