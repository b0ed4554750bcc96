# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 servers for the tests of uploads: a process each for the session, a bucket each for a test."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.llmstack.serving.plugins.module_utils import _retry, _s3, _upload_memory
from ansible_collections.llmstack.serving.plugins.modules import s3_model_upload
from s3.faulty_proxy import Proxy, proxy
from s3.servers import ACCESS_KEY, REGION, SECRET_KEY, Server, moto, versitygw

Upload = Callable[..., dict[str, Any]]
CLIENTS: dict[str, Any] = {}


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with versitygw(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def watched(gateway: Server) -> Iterator[Proxy]:
    """The server behind a proxy that keeps what it was asked."""
    with proxy(gateway.url) as running:
        yield running


@pytest.fixture(params=["gateway", pytest.param("memory", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> Server:
    """Each implementation in turn, the second one only in `make test-long`."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["gateway", "memory"])
def each_server(request: pytest.FixtureRequest) -> Server:
    """Each implementation in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that no other test uses; it does not exist yet."""
    return f"models-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, no proxy and no state of whoever runs the tests, and short pauses."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(_retry, "_FIRST_PAUSE_SECONDS", 0.01)
    # Otherwise files that a test has just written would be read again by each run.
    monkeypatch.setattr(_upload_memory, "_TICK_NS", 0)


@pytest.fixture(autouse=True)
def shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a client costs more than most of these tests need otherwise: one for each set of keys and endpoint."""
    make = _s3.Bucket._new_client

    def shared(bucket: _s3.Bucket) -> Any:
        given = bucket._connection
        key = json.dumps(
            {name: given[name] for name in _s3.AWS_ARG_SPEC}
            | {"concurrency": bucket._concurrency, "in_any_region": bucket._in_any_region}
        )
        if not given["access_key"] or any(
            name in os.environ for name in ("AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY")
        ):
            return make(bucket)
        if key not in CLIENTS:
            CLIENTS[key] = make(bucket)
        return CLIENTS[key]

    monkeypatch.setattr(_s3.Bucket, "_new_client", shared)


@pytest.fixture(scope="session")
def weights() -> bytes:
    return os.urandom(11 * 1024 * 1024)


@pytest.fixture
def model(tmp_path: Path, weights: bytes) -> Path:
    """A model of one file in three parts of at most 5 MiB and some small ones."""
    folder = tmp_path / "model"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text('{"model_type": "llama"}\n')
    (folder / "sub dir" / "tökenizer+x.json").write_text("{}\n")
    (folder / "empty.txt").write_text("")
    return folder


@pytest.fixture
def upload(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bucket: str, tmp_path: Path) -> Upload:
    """Run the module in this process; returns what it prints, with the warnings as texts."""
    warnings: list[str] = []
    # ansible-core keeps warnings for the life of a process.
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda self, text: warnings.append(text))

    def call(check: bool = False, **parameters: Any) -> dict[str, Any]:
        arguments = {
            "bucket": bucket,
            "prefix": "llama",
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "region": REGION,
            "part_size": "5MiB",
            "create_bucket": True,
            "state_dir": str(tmp_path / "state"),
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
            **parameters,
        }
        present = {name: value for name, value in arguments.items() if value is not None}
        with patch_module_args(present), pytest.raises(SystemExit):
            s3_model_upload.main()
        printed = capsys.readouterr().out
        assert SECRET_KEY not in printed
        result = {**json.loads(printed), "warnings": list(warnings)}
        warnings.clear()
        return result

    return call
