# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from ansible_collections.llmstack.serving.plugins.module_utils import _kube
from ansible_collections.llmstack.serving.plugins.module_utils import _kube_errors as errors
from ansible_collections.llmstack.serving.plugins.module_utils._kube import Kube, Ref, Resource
from ansible_collections.llmstack.serving.plugins.module_utils._kube_config import Connection
from ansible_collections.llmstack.serving.plugins.module_utils._kube_wait import Selection, wait_until

CONFIG = Ref("v1", "ConfigMap", "models", "c")
PATH = "/api/v1/namespaces/models/configmaps/c"
COLLECTION = "/api/v1/namespaces/models/configmaps"


def manifest(name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "models"}, "data": data}


@pytest.fixture
def kube(api: Any) -> Kube:
    return Kube(Connection(host=api.url, source="test", authorization=lambda: "Bearer t"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No pauses between tries; they are recorded instead."""
    pauses: list[float] = []
    monkeypatch.setattr(_kube.time, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "path"),
    [
        (Resource("v1", "Node", "nodes", False), None, "n", "/api/v1/nodes/n"),
        (Resource("v1", "Pod", "pods", True), "m", "p", "/api/v1/namespaces/m/pods/p"),
        (Resource("v1", "Pod", "pods", True), None, None, "/api/v1/pods"),
        (Resource("apps/v1", "Deployment", "deployments", True), "m", None, "/apis/apps/v1/namespaces/m/deployments"),
        (Resource("a.b/v1", "Thing", "things", False), "ignored", "t", "/apis/a.b/v1/things/t"),
    ],
)
def test_paths(resource: Resource, namespace: str | None, name: str | None, path: str) -> None:
    assert resource.path(namespace, name) == path


def test_built_in_kinds_cost_no_discovery(api: Any, kube: Kube) -> None:
    assert kube.get(CONFIG) is None
    assert [path for _method, path, _query in api.requests] == [PATH]


def test_other_kinds_are_discovered_once(api: Any, kube: Kube) -> None:
    for name in ("a", "b"):
        kube.get(Ref("example.com/v1", "Widget", "models", name))
    assert api.requests[0][1] == "/apis/example.com/v1"
    assert len(api.requests) == 3


@pytest.mark.parametrize(("api_version", "kind"), [("no.such/v1", "Widget"), ("example.com/v1", "Gadget")])
def test_kind_that_is_not_served(kube: Kube, api_version: str, kind: str) -> None:
    with pytest.raises(errors.KindNotFound, match=f"{api_version} {kind}: the API server does not serve this kind"):
        kube.get(Ref(api_version, kind, "m", "x"))


def test_apply_is_server_side_strict_and_named(api: Any, kube: Kube) -> None:
    kube.apply(CONFIG, manifest(a="1"), field_manager="me", force=True, dry_run=True)
    method, path, query = api.requests[0]
    assert (method, path) == ("PATCH", PATH)
    assert query == {"fieldManager": "me", "force": "true", "fieldValidation": "Strict", "dryRun": "All"}
    assert api.headers[0]["content-type"] == "application/apply-patch+yaml"
    assert api.headers[0]["authorization"] == "Bearer t"
    assert api.headers[0]["user-agent"] == "llmstack.serving"


def test_impersonation_sends_each_group(api: Any) -> None:
    headers = [("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")]
    Kube(Connection(host=api.url, source="test", headers=headers)).get(CONFIG)
    assert api.headers[0]["impersonate-user"] == "bob"
    assert api.headers[0]["impersonate-group"] in ("b", "a, b")


def test_list_follows_pages_and_names_kinds(api: Any, kube: Kube) -> None:
    pages = [
        (200, {"metadata": {"continue": "next", "resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    api.planned[("GET", COLLECTION)] = pages
    items, version = kube.list("v1", "ConfigMap", "models", labels="x=y")
    assert [(item["kind"], item["metadata"]["name"]) for item in items] == [("ConfigMap", "a"), ("ConfigMap", "b")]
    assert version == "5"
    assert api.requests[1][2] == {"limit": "500", "labelSelector": "x=y", "continue": "next"}


def listed(*items: dict[str, Any], separators: tuple[str, str] = (",", ":"), **metadata: str) -> bytes:
    """A list as the API server writes it."""
    page = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": list(items)}
    return json.dumps(page, separators=separators).encode() + b"\n"


def item(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("pods", "kept"),
    [
        ([], []),
        ([item("a")], []),
        ([item("a", gpu=1)], ["a"]),
        ([item("a", gpu=1), item("b"), item("c", gpu=1)], ["a", "c"]),
        ([item("a"), item("b", gpu=1), item("c")], ["b"]),
        # What looks like the beginning of an item, inside of one: nothing is cut in two.
        ([item("a", nested=[1, {"metadata": {"name": "gpu"}}]), item("b")], ["a", "b"]),
        ([item("a", nested=[1, {"metadata": {"name": "x"}}, 2], gpu=1)], ["a"]),
        ([item("a", text=',{"metadata":{"name":"gpu"}}'), item("b")], ["a"]),
    ],
)
def test_items_that_do_not_mention_a_text_are_left_out(pods: list[dict[str, Any]], kept: list[str]) -> None:
    page = _kube._decoded(listed(*pods), b"gpu")
    assert [entry["metadata"]["name"] for entry in page["items"]] == kept
    assert [entry for entry in pods if entry["metadata"]["name"] in kept] == page["items"]


@pytest.mark.parametrize(
    "data",
    [
        listed(item("a"), item("b"), separators=(", ", ": ")),
        b'{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"kind":"PodList","metadata":{}}',
        b'{"kind":"PodList","metadata":{},"items":[{"kind":"Pod","metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}',
    ],
)
def test_a_list_in_another_form_is_read_whole(data: bytes) -> None:
    names = [entry["metadata"]["name"] for entry in _kube._decoded(data, b"a")["items"]]
    assert "a" in names
    assert json.loads(data)["items"] == _kube._decoded(data, b"")["items"]


def test_the_next_page_is_asked_for_before_this_one_is_handed_out() -> None:
    asked: list[str] = []
    pages = {
        "": listed(item("a"), **{"continue": "1"}),
        "1": listed(item("b"), separators=(", ", ": "), **{"continue": "2"}),
        "2": listed(item("c")),
    }
    begun = threading.Event()

    def read(token: str) -> bytes:
        asked.append(token)
        if token == "1":
            begun.set()
        return pages[token]

    given = _kube._with_next(read)
    assert next(given) == pages[""]
    assert begun.wait(10)
    assert list(given) == [pages["1"], pages["2"]]
    assert asked == ["", "1", "2"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"abc"},"items":[{"metadata":{"name":"a"}}]}',
        # As the API server writes lists of custom resources.
        b'{"apiVersion":"v1","items":[{"metadata":{"name":"a"}}],"kind":"WidgetList","metadata":{"continue":"abc"}}',
        b'{"apiVersion":"v1","items":[],"kind":"WidgetList","metadata":{"continue":"abc"}}',
        b'{"metadata": {"continue": "abc"}, "items": null}',
    ],
)
def test_the_token_of_the_next_page_is_found_wherever_it_stands(data: bytes) -> None:
    assert _kube._continue(data) == "abc"
    assert _kube._decoded(data, b"") == json.loads(data)
    assert _kube._decoded(data, b"nothing")["metadata"] == {"continue": "abc"}


def test_a_page_that_cannot_be_read_is_an_error_of_the_list(api: Any, kube: Kube) -> None:
    api.planned[("GET", COLLECTION)] = [
        (200, {"metadata": {"continue": "next"}, "items": []}),
        (403, {"message": "no", "reason": "Forbidden"}),
    ]
    with pytest.raises(errors.Forbidden):
        kube.list("v1", "ConfigMap", "models")


def test_delete_tells_gone_from_going(api: Any, kube: Kube) -> None:
    api.put(PATH, manifest())
    assert kube.delete(CONFIG, uid="u") is None
    assert kube.delete(CONFIG) is None, "gone already"
    going = {"kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["x"]}}
    api.planned[("DELETE", PATH)] = [(200, going)]
    assert kube.delete(CONFIG) == going


def test_overload_is_retried_as_long_as_the_server_asks(api: Any, kube: Kube, quick: list[float]) -> None:
    api.put(PATH, manifest())
    api.planned[("GET", PATH)] = [(429, {"message": "slow down"}, {"Retry-After": "3"}), (503, {"message": "starting"})]
    assert kube.get(CONFIG) is not None
    assert quick == [3.0, 1.0]


def test_overload_that_stays_becomes_an_error(api: Any, kube: Kube, quick: list[float]) -> None:
    api.planned[("GET", PATH)] = [(503, {"message": "etcd is down"})] * 9
    with pytest.raises(errors.Unreachable, match="answered 503: etcd is down"):
        kube.get(CONFIG)
    assert len(api.requests) == 4


def test_webhook_failures_are_left_to_the_caller(api: Any, kube: Kube, quick: list[float]) -> None:
    api.planned[("PATCH", PATH)] = [(500, {"message": 'failed calling webhook "w": refused'})] * 2
    with pytest.raises(errors.WebhookUnreachable):
        kube.apply(CONFIG, manifest(), field_manager="me")
    assert len(api.requests) == 1


def test_overtaken_write_is_tried_again(api: Any, kube: Kube, quick: list[float]) -> None:
    api.planned[("PATCH", PATH)] = [(409, {"message": "the object has been modified", "reason": "Conflict"})]
    assert kube.apply(CONFIG, manifest(a="1"), field_manager="me")["data"] == {"a": "1"}


def test_unreachable_server_names_address_and_source(quick: list[float]) -> None:
    kube = Kube(Connection(host="http://127.0.0.1:9", source="/k, context 'main'"))
    with pytest.raises(errors.Unreachable, match=r"http://127.0.0.1:9 \(/k, context 'main'\) cannot be reached"):
        kube.get(CONFIG)
    assert sum(quick) <= 2


def test_answer_of_a_proxy_is_shown(api: Any, kube: Kube) -> None:
    api.planned[("GET", PATH)] = [(418, "<html>teapot</html>")]
    with pytest.raises(errors.KubeError, match="418: <html>teapot</html>"):
        kube.get(CONFIG)


def test_tls_against_a_server_without_tls(api: Any, quick: list[float]) -> None:
    kube = Kube(Connection(host=api.url.replace("http:", "https:"), source="test"))
    with pytest.raises(errors.Unreachable, match="does not speak TLS"):
        kube.get(CONFIG)


@pytest.mark.parametrize(
    ("no_proxy", "bypassed"),
    [
        ("api.example.com", True),
        (".example.com", True),
        ("example.com", True),
        ("*.example.com", True),
        ("ample.com", False),
        ("other", False),
        ("*", True),
        ("", False),
    ],
)
def test_no_proxy_by_name(no_proxy: str, bypassed: bool) -> None:
    chosen = Connection(host="https://api.example.com:6443", source="test", no_proxy=no_proxy)
    assert _kube._bypasses_proxy(chosen) is bypassed


def test_no_proxy_by_network() -> None:
    chosen = Connection(host="https://10.1.2.3", source="test", no_proxy="x, 10.0.0.0/8")
    assert _kube._bypasses_proxy(chosen) is True


def test_unreadable_certificates_are_named() -> None:
    with pytest.raises(errors.Unreachable, match="CA certificate of test cannot be read"):
        Kube(Connection(host="https://x", source="test", ca_file="/no")).get(CONFIG)
    with pytest.raises(errors.Unreachable, match="client certificate or key of test cannot be read"):
        Kube(Connection(host="https://x", source="test", cert_data="no", key_data="no")).get(CONFIG)


# Waiting


def test_wait_sees_the_state_first_and_then_each_change(api: Any, kube: Kube) -> None:
    api.put(PATH, manifest(step="1"))
    chosen = Selection("v1", "ConfigMap", "models", fields="metadata.name=c")
    seen: list[str] = []

    def judge(view: Any) -> str | None:
        seen.append(view[chosen][("models", "c")]["data"]["step"])
        if seen == ["1"]:
            threading.Timer(0.2, lambda: api.put(PATH, manifest(step="2"))).start()
        return "done" if seen[-1] == "2" else None

    answer, _view = wait_until(kube, [chosen], judge, time.monotonic() + 5)
    assert answer == "done"
    assert seen == ["1", "2"]


def test_wait_notices_deletion(api: Any, kube: Kube) -> None:
    api.put(PATH, manifest())
    threading.Timer(0.2, lambda: api.remove(PATH)).start()
    chosen = Selection("v1", "ConfigMap", "models")
    answer, _view = wait_until(kube, [chosen], lambda view: None if view[chosen] else "gone", time.monotonic() + 5)
    assert answer == "gone"


def test_wait_ends_at_its_deadline_with_the_last_view(api: Any, kube: Kube) -> None:
    api.put(PATH, manifest(step="1"))
    chosen = Selection("v1", "ConfigMap", "models")
    begin = time.monotonic()
    answer, view = wait_until(kube, [chosen], lambda view: None, begin + 0.5)
    assert answer is None
    assert 0.4 < time.monotonic() - begin < 4
    assert view[chosen][("models", "c")]["data"] == {"step": "1"}


def test_wait_lists_anew_when_the_server_forgot_the_version(
    api: Any, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put(PATH, manifest(step="1"))
    chosen = Selection("v1", "ConfigMap", "models")
    real, calls = kube.watch, []

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            api.put(PATH, manifest(step="2"))
            raise errors.Gone("too old resource version")
        return real(*args, **kwargs)

    monkeypatch.setattr(kube, "watch", forgetful)

    def judge(view: Any) -> str | None:
        return "done" if view[chosen][("models", "c")]["data"]["step"] == "2" else None

    assert wait_until(kube, [chosen], judge, time.monotonic() + 5)[0] == "done"


def test_watch_raises_what_the_server_reports_in_the_stream(api: Any, kube: Kube) -> None:
    api.planned[("GET", COLLECTION)] = [(200, '{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}\n')]
    with pytest.raises(errors.Gone):
        list(kube.watch("v1", "ConfigMap", "models", "1", time.monotonic() + 5))


def test_watch_survives_a_restart_of_the_server(api: Any, kube: Kube, quick: list[float]) -> None:
    api.planned[("GET", COLLECTION)] = [(503, {"message": "restarting"})] * 2
    api.put(PATH, manifest())
    events = kube.watch("v1", "ConfigMap", "models", "1", time.monotonic() + 5)
    assert next(events)[0] == "ADDED"
    assert quick == [2.0, 4.0]


def test_wait_raises_what_watching_again_does_not_heal(kube: Kube) -> None:
    with pytest.raises(errors.KindNotFound):
        wait_until(kube, [Selection("no.such/v1", "Widget", "m")], lambda view: True, time.monotonic() + 5)
