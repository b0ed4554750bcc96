# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

# The options are those of plugins/module_utils/_kube_config.py (AUTH_ARG_SPEC).

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig, or its content as a dictionary.
      - Environment variable E(K8S_AUTH_KUBECONFIG). Without it E(KUBECONFIG) or C(~/.kube/config) is used, if there is one.
    type: raw
  context:
    description:
      - Name of a context of the kubeconfig. Without it the kubeconfig's current context is used.
      - Environment variable E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the Kubernetes API. Together with O(api_key), O(username) and O(password), or O(client_cert) and O(client_key)
        it needs no kubeconfig.
      - Environment variable E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Bearer token for the Kubernetes API.
      - Environment variable E(K8S_AUTH_API_KEY).
    type: str
  username:
    description:
      - User name for HTTP basic authentication, for a proxy in front of the Kubernetes API that asks for it.
      - Environment variable E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password for HTTP basic authentication.
      - Environment variable E(K8S_AUTH_PASSWORD).
    type: str
  validate_certs:
    description:
      - Whether to verify the certificate of the Kubernetes API. V(true) unless the kubeconfig says otherwise.
      - Environment variables E(K8S_AUTH_VALIDATE_CERTS), E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description:
      - Path of the CA certificates that the certificate of the Kubernetes API is verified with.
      - Environment variables E(K8S_AUTH_CA_CERT), E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - Path of a client certificate.
      - Environment variables E(K8S_AUTH_CLIENT_CERT), E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of the client certificate.
      - Environment variables E(K8S_AUTH_CLIENT_KEY), E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description:
      - URL of an HTTP proxy. Without it the kubeconfig's C(proxy-url) or the environment (E(HTTPS_PROXY)) is used.
      - Environment variable E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Comma-separated names, domains, addresses and networks that are reached without the proxy. Without it E(NO_PROXY) is used.
      - Environment variable E(K8S_AUTH_NO_PROXY).
    type: str
  impersonate_user:
    description:
      - User to impersonate.
      - Environment variable E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to impersonate.
      - Environment variable E(K8S_AUTH_IMPERSONATE_GROUPS), comma-separated.
    type: list
    elements: str
requirements:
  - kubernetes >= 28.1.0 (Python; brings urllib3 and PyYAML)
notes:
  - "The cluster is taken from the first of these: O(host) with credentials; O(kubeconfig) or O(context); E(KUBECONFIG) or
    C(~/.kube/config), if the file exists; the service account of the pod that the module runs in. Single options override
    what the kubeconfig says. M(kubernetes.core.k8s) asks the pod's service account before C(~/.kube/config)."
"""
