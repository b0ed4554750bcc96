# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster, with which credentials: from options, K8S_AUTH_* and kubeconfig to a Connection. PRIVATE to the collection.

Names, environment variables and meaning are those of kubernetes.core (plugins/module_utils/args_common.py). Importing
`kubernetes` costs more than everything else that a module does, so it is asked only for what it alone can do:
exec plugins, auth providers and merged kubeconfigs. Plain tokens, files and certificates are read here.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.llmstack.serving.plugins.module_utils._kube_errors import KubeError

AUTH_ARG_SPEC: dict[str, dict[str, Any]] = {
    "kubeconfig": {"type": "raw"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"]},
    "proxy": {"type": "str"},
    "no_proxy": {"type": "str"},
    "impersonate_user": {"type": "str"},
    "impersonate_groups": {"type": "list", "elements": "str"},
}
_SECRET_KEYS = frozenset(
    ("token", "password", "client-key-data", "id-token", "access-token", "refresh-token", "client-secret")
)
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class ConfigError(KubeError):
    """The credentials or the address cannot be read."""


@dataclass
class Connection:
    """How to reach one API server. Files are paths; `*_data` is PEM text."""

    host: str
    source: str
    authorization: Callable[[], str | None] = lambda: None
    verify: bool = True
    ca_file: str | None = None
    ca_data: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    cert_data: str | None = None
    key_data: str | None = None
    tls_server_name: str | None = None
    proxy: str | None = None
    no_proxy: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)


def connection(params: dict[str, Any]) -> Connection:
    """The Connection for module parameters. The first of these wins:

    1. `host` with `api_key`, `username`/`password` or `client_cert`/`client_key`;
    2. `kubeconfig` and/or `context`;
    3. $KUBECONFIG or ~/.kube/config, if there is one;
    4. the service account of the pod that this runs in.

    Each option is taken from the parameter, else from K8S_AUTH_<NAME>. Single options override what a kubeconfig says.
    (kubernetes.core tries 4 before 3, so that a pod of AWX talks to its own cluster unasked; kubectl does it as here.)
    """
    auth = options(params)
    found = (_explicit(auth) or _kubeconfig(auth) or _in_cluster()) or None
    if found is None:
        raise ConfigError(
            "No Kubernetes cluster is given. Set kubeconfig (or K8S_AUTH_KUBECONFIG, KUBECONFIG), "
            "or host and api_key (K8S_AUTH_HOST, K8S_AUTH_API_KEY)."
        )
    _override(found, auth)
    if not found.host.startswith(("https://", "http://")):
        found.host = f"https://{found.host}"
    found.host = found.host.rstrip("/")
    if found.proxy is None:
        scheme = found.host.partition(":")[0]
        found.proxy = os.environ.get(f"{scheme.upper()}_PROXY") or os.environ.get(f"{scheme}_proxy") or None
    if found.no_proxy is None:
        found.no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or None
    if auth.get("impersonate_user"):
        found.headers.append(("Impersonate-User", auth["impersonate_user"]))
    found.headers += [("Impersonate-Group", group) for group in auth.get("impersonate_groups") or []]
    return found


def options(params: dict[str, Any]) -> dict[str, Any]:
    """The auth options that are set, from the parameters, else from the environment."""
    found: dict[str, Any] = {}
    for name, spec in AUTH_ARG_SPEC.items():
        value = params.get(name)
        if value is None:
            names = (name, *spec.get("aliases", ()))
            text = next(
                (os.environ[key] for key in (f"K8S_AUTH_{n.upper()}" for n in names) if os.environ.get(key)), None
            )
            if text is None:
                continue
            if spec["type"] == "bool":
                value = text.lower() not in ("0", "false", "no", "off")
            elif spec["type"] == "list":
                value = [item for item in text.split(",") if item]
            elif spec["type"] == "path":
                value = os.path.expanduser(text)
            else:
                value = text
        if value not in ("", []):
            found[name] = value
    return found


def secrets(params: dict[str, Any]) -> set[str]:
    """The secret texts of a kubeconfig that was given as a dictionary, for no_log."""
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in _SECRET_KEYS and isinstance(item, str) and item:
                    found.add(item)
                else:
                    collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(params.get("kubeconfig"))
    return found


def _explicit(auth: dict[str, Any]) -> Connection | None:
    complete = ("api_key",), ("username", "password"), ("client_cert", "client_key")
    if auth.get("host") and any(all(auth.get(name) for name in names) for names in complete):
        return Connection(host=auth["host"], source="host")
    return None


def _override(found: Connection, auth: dict[str, Any]) -> None:
    found.host = auth.get("host") or found.host
    if auth.get("api_key"):
        found.authorization = _constant(f"Bearer {auth['api_key']}")
    elif auth.get("username") and auth.get("password"):
        found.authorization = _constant(_basic(auth["username"], auth["password"]))
    if "validate_certs" in auth:
        found.verify = auth["validate_certs"]
    if auth.get("ca_cert"):
        found.ca_file, found.ca_data = auth["ca_cert"], None
    if auth.get("client_cert"):
        found.cert_file, found.cert_data = auth["client_cert"], None
    if auth.get("client_key"):
        found.key_file, found.key_data = auth["client_key"], None
    found.proxy = auth.get("proxy") or found.proxy
    found.no_proxy = auth.get("no_proxy") or found.no_proxy


def _kubeconfig(auth: dict[str, Any]) -> Connection | None:
    given = auth.get("kubeconfig")
    if isinstance(given, dict):
        return _from_kubeconfig(given, "the kubeconfig given as a dictionary", "", auth.get("context"), given)
    if given is not None and not isinstance(given, str):
        raise ConfigError("kubeconfig must be a path or a dictionary.")
    wanted = given or os.environ.get("KUBECONFIG") or "~/.kube/config"
    paths = [os.path.expanduser(path) for path in wanted.split(os.pathsep) if path]
    existing = [path for path in paths if os.path.exists(path)]
    if not existing:
        if given or auth.get("context"):
            raise ConfigError(f"The kubeconfig {wanted} does not exist. Correct kubeconfig (or K8S_AUTH_KUBECONFIG).")
        return None
    if len(existing) > 1:
        return _from_library(os.pathsep.join(existing), auth.get("context"))
    return _from_kubeconfig(
        _read(existing[0]), existing[0], os.path.dirname(os.path.abspath(existing[0])), auth.get("context"), existing[0]
    )


def _read(path: str) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise MissingLibrary("PyYAML") from error

    try:
        with open(path, encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"The kubeconfig {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The kubeconfig {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The kubeconfig {path} is empty or no kubeconfig.")
    return content


def _from_kubeconfig(
    config: dict[str, Any], source: str, base: str, context_name: str | None, origin: str | dict[str, Any]
) -> Connection:
    """`base` is the folder that relative paths start from; `origin` is what the kubernetes library is to read."""

    def named(kind: str, name: str) -> dict[str, Any]:
        for entry in config.get(f"{kind}s") or []:
            if entry.get("name") == name:
                return entry.get(kind) or {}
        known = ", ".join(str(entry.get("name")) for entry in config.get(f"{kind}s") or []) or "none"
        raise ConfigError(f"{source} has no {kind} '{name}' (it has: {known}).")

    name = context_name or config.get("current-context")
    if not name:
        raise ConfigError(f"{source} names no current-context. Set context (or K8S_AUTH_CONTEXT).")
    context = named("context", name)
    cluster = named("cluster", context.get("cluster") or "")
    user = named("user", context["user"]) if context.get("user") else {}
    if not cluster.get("server"):
        raise ConfigError(f"{source}: the cluster of context '{name}' has no server.")
    if "auth-provider" in user or ("exec" in user and not (user.get("token") or user.get("tokenFile"))):
        return _from_library(origin, name)

    def file(entry: dict[str, Any], key: str) -> str | None:
        # With both, the data wins: k8s.io/client-go tools/clientcmd/api/types.go
        path = None if entry.get(f"{key}-data") else entry.get(key)
        return os.path.join(base, os.path.expanduser(path)) if path else None

    def data(entry: dict[str, Any], key: str) -> str | None:
        encoded = entry.get(f"{key}-data")
        if not encoded:
            return None
        try:
            return base64.b64decode("".join(encoded.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(f"{source}: {key}-data of context '{name}' is not base64 of PEM text.") from error

    found = Connection(
        host=cluster["server"],
        source=f"{source}, context '{name}'",
        verify=not cluster.get("insecure-skip-tls-verify", False),
        ca_file=file(cluster, "certificate-authority"),
        ca_data=data(cluster, "certificate-authority"),
        cert_file=file(user, "client-certificate"),
        cert_data=data(user, "client-certificate"),
        key_file=file(user, "client-key"),
        key_data=data(user, "client-key"),
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )
    if user.get("token"):
        found.authorization = _constant(f"Bearer {user['token']}")
    elif user.get("tokenFile"):
        found.authorization = _token_file(os.path.join(base, user["tokenFile"]))
    elif user.get("username") and user.get("password"):
        found.authorization = _constant(_basic(user["username"], user["password"]))
    if user.get("as"):
        found.headers.append(("Impersonate-User", user["as"]))
        found.headers += [("Impersonate-Group", group) for group in user.get("as-groups") or []]
    return found


def _in_cluster() -> Connection | None:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = f"{_SERVICE_ACCOUNT}/token"
    if not (host and port and os.path.exists(token)):
        return None
    return Connection(
        host=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        source="the service account of this pod",
        authorization=_token_file(token),
        ca_file=f"{_SERVICE_ACCOUNT}/ca.crt",
    )


def _from_library(origin: str | dict[str, Any], context: str | None) -> Connection:
    """Let the kubernetes library run exec plugins and auth providers and merge kubeconfigs."""
    import logging

    try:
        from kubernetes import client, config
    except ImportError as error:
        raise MissingLibrary("kubernetes") from error

    # The library logs what an exec plugin did wrong and goes on without credentials: kubernetes config/kube_config.py.
    told: list[str] = []
    handler = logging.Handler(level=logging.ERROR)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    settings = client.Configuration()
    try:
        if isinstance(origin, dict):
            config.load_kube_config_from_dict(origin, context=context, client_configuration=settings)
        else:
            config.load_kube_config(config_file=origin, context=context, client_configuration=settings)
    except Exception as error:  # the library and the plugins raise anything
        raise ConfigError(f"The credentials of the kubeconfig cannot be had: {error}") from error
    finally:
        logging.getLogger().removeHandler(handler)

    def authorization() -> str | None:
        # Asks the plugin again when the token is about to expire.
        return settings.get_api_key_with_prefix("BearerToken") or settings.get_api_key_with_prefix("authorization")

    if not authorization() and not settings.cert_file:
        raise ConfigError(
            f"The kubeconfig's plugin gave no credentials{': ' + told[-1] if told else ''}. "
            "Run kubectl with the same kubeconfig to see it work first."
        )
    return Connection(
        host=settings.host,
        source="the kubeconfig",
        authorization=authorization,
        verify=settings.verify_ssl,
        ca_file=settings.ssl_ca_cert,
        cert_file=settings.cert_file,
        key_file=settings.key_file,
        tls_server_name=getattr(settings, "tls_server_name", None),
        proxy=settings.proxy,
    )


class MissingLibrary(KubeError):
    """A Python library is not installed. `name` is what to tell missing_required_lib."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The Python library {name} is missing.")
        self.name = name


def _constant(value: str) -> Callable[[], str | None]:
    return lambda: value


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _token_file(path: str) -> Callable[[], str | None]:
    def read() -> str | None:
        # Read for each request: the kubelet replaces the file before the token expires.
        try:
            with open(path, encoding="utf-8") as stream:
                return f"Bearer {stream.read().strip()}"
        except OSError as error:
            raise ConfigError(f"The token file {path} cannot be read: {error.strerror}.") from error

    return read
