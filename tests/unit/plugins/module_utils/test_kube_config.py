# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llmstack.serving.plugins.module_utils import _kube_config
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import (
    ConfigError,
    connection,
    options,
    secrets,
)


def kubeconfig(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u"}},
            {"name": "other", "context": {"cluster": "o", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://main:6443", **cluster}},
            {"name": "o", "cluster": {"server": "https://other:6443/"}},
        ],
        "users": [{"name": "u", "user": user}],
    }


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_host_with_credentials_needs_no_kubeconfig() -> None:
    found = connection({"host": "https://api:6443/", "api_key": "t"})
    assert (found.host, found.authorization()) == ("https://api:6443", "Bearer t")


def test_host_without_scheme_is_https() -> None:
    assert connection({"host": "api:6443", "api_key": "t"}).host == "https://api:6443"


def test_host_alone_overrides_the_server_of_the_kubeconfig() -> None:
    found = connection({"host": "https://tunnel:1", "kubeconfig": kubeconfig({"token": "t"})})
    assert (found.host, found.authorization()) == ("https://tunnel:1", "Bearer t")


def test_kubeconfig_by_path_with_context(tmp_path: Path) -> None:
    path = written(tmp_path / "k", kubeconfig({"token": "t"}))
    assert connection({"kubeconfig": path}).host == "https://main:6443"
    assert connection({"kubeconfig": path, "context": "other"}).host == "https://other:6443"


def test_environment_is_used_where_parameters_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", written(tmp_path / "k", kubeconfig({"token": "t"})))
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "other")
    assert connection({}).host == "https://other:6443"
    assert connection({"context": "main"}).host == "https://main:6443"


def test_awx_credential_type_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    # awx.main.models.credential: "OpenShift or Kubernetes API Bearer Token"
    monkeypatch.setenv("K8S_AUTH_HOST", "https://api")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "t")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "False")
    found = connection({})
    assert (found.host, found.authorization(), found.verify) == ("https://api", "Bearer t", False)


def test_every_option_has_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spec in _kube_config.AUTH_ARG_SPEC.items():
        monkeypatch.setenv(f"K8S_AUTH_{name.upper()}", "true" if spec["type"] == "bool" else "a,b")
    found = options({})
    assert set(found) == set(_kube_config.AUTH_ARG_SPEC)
    assert found["validate_certs"] is True
    assert found["impersonate_groups"] == ["a", "b"]


def test_default_kubeconfig_comes_before_the_service_account_of_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("pod\n")
    monkeypatch.setattr(_kube_config, "_SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    in_pod = connection({})
    assert (in_pod.host, in_pod.authorization()) == ("https://[fd00::1]:443", "Bearer pod")
    assert in_pod.ca_file == str(account / "ca.crt")
    monkeypatch.setenv("KUBECONFIG", written(tmp_path / "k", kubeconfig({"token": "t"})))
    assert connection({}).host == "https://main:6443"


def test_nothing_given_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"Set kubeconfig .* or host and api_key"):
        connection({})


def test_certificates_as_data_and_as_files_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    content = kubeconfig(
        {"client-certificate-data": data, "client-key": "key.pem"},
        **{"certificate-authority": "ca.pem", "tls-server-name": "n"},
    )
    found = connection({"kubeconfig": written(tmp_path / "k", content)})
    assert (found.cert_data, found.key_file, found.ca_file) == (
        "PEM",
        str(tmp_path / "key.pem"),
        str(tmp_path / "ca.pem"),
    )
    assert found.tls_server_name == "n"


def test_options_override_the_kubeconfig() -> None:
    data = base64.b64encode(b"PEM").decode()
    content = kubeconfig({"token": "t"}, **{"certificate-authority-data": data, "insecure-skip-tls-verify": True})
    found = connection(
        {"kubeconfig": content, "ca_cert": "/ca", "validate_certs": True, "api_key": "mine", "proxy": "http://p"}
    )
    assert (found.ca_file, found.ca_data, found.verify, found.proxy) == ("/ca", None, True, "http://p")
    assert found.authorization() == "Bearer mine"


def test_token_file_is_read_for_each_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one")
    found = connection({"kubeconfig": written(tmp_path / "k", kubeconfig({"tokenFile": "token"}))})
    assert found.authorization() == "Bearer one"
    (tmp_path / "token").write_text("two")
    assert found.authorization() == "Bearer two"


def test_impersonation_becomes_headers() -> None:
    found = connection(
        {"kubeconfig": kubeconfig({"token": "t"}), "impersonate_user": "bob", "impersonate_groups": ["a", "b"]}
    )
    assert found.headers == [("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")]


def test_exec_plugin_is_run_by_the_kubernetes_library(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    credential = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}'
    )
    plugin.write_text(f"#!{sys.executable}\nprint({credential!r})\n")
    plugin.chmod(0o700)
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    found = connection({"kubeconfig": kubeconfig({"exec": exec_})})
    assert (found.host, found.authorization()) == ("https://main:6443", "Bearer fresh")


def test_exec_plugin_that_fails_is_told() -> None:
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/no/such/plugin", "interactiveMode": "Never"}
    with pytest.raises(ConfigError, match="/no/such/plugin"):
        connection({"kubeconfig": kubeconfig({"exec": exec_})})


def test_plain_kubeconfig_does_not_import_the_kubernetes_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert connection({"kubeconfig": kubeconfig({"token": "t"})}).host == "https://main:6443"


def test_several_kubeconfigs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kubeconfig({"token": "t"})
    second = {"apiVersion": "v1", "kind": "Config", "users": [], "clusters": [], "contexts": []}
    second["contexts"] = [{"name": "third", "context": {"cluster": "o", "user": "u"}}]
    monkeypatch.setenv("KUBECONFIG", f"{written(tmp_path / 'a', second)}:{written(tmp_path / 'b', first)}")
    assert connection({"context": "third"}).host == "https://other:6443"


@pytest.mark.parametrize(
    ("content", "context", "text"),
    [
        (kubeconfig({"token": "t"}), "nope", "has no context 'nope' .it has: main, other."),
        ({**kubeconfig({"token": "t"}), "current-context": ""}, None, "names no current-context"),
        ({**kubeconfig({"token": "t"}), "users": []}, None, "has no user 'u'"),
        (kubeconfig({"client-key-data": "!"}), None, "client-key-data of context 'main' is not base64"),
    ],
)
def test_faults_of_a_kubeconfig_are_named(content: dict[str, Any], context: str | None, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        connection({"kubeconfig": content, "context": context})


def test_kubeconfig_that_is_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        connection({"kubeconfig": str(tmp_path / "no")})
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ConfigError, match="is not YAML"):
        connection({"kubeconfig": str(tmp_path / "bad")})
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        connection({"kubeconfig": str(tmp_path / "empty")})


def test_secrets_of_a_kubeconfig_dictionary_are_found() -> None:
    content = kubeconfig({"token": "hush", "client-key-data": "key", "client-certificate-data": "public"})
    assert secrets({"kubeconfig": content}) == {"hush", "key"}
    assert secrets({"kubeconfig": "/path"}) == set()


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:3128")
    monkeypatch.setenv("NO_PROXY", "main")
    found = connection({"kubeconfig": kubeconfig({"token": "t"})})
    assert (found.proxy, found.no_proxy) == ("http://p:3128", "main")
