# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.llmstack.serving.plugins.module_utils._load_server import sample, summary, together

# As vLLM 0.32 prints it, two engines of one server.
PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
vllm:num_preemptions_total{engine="0",model_name="tiny"} 4.0
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1e+03
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 100.0
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 50.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="tiny"} 2.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="tiny"} 20.0
"""


def test_a_page_is_read_over_all_engines() -> None:
    assert sample(PAGE) == {
        "running": 5,
        "waiting": 1,
        "kv_cache_percent": 75,
        "preemptions": 4,
        "generation_tokens": 1000,
        "prefix_queries": 100,
        "prefix_hits": 50,
        "ttft_sum_seconds": 2,
        "ttft_count": 20,
    }


def test_older_names_are_known_and_other_pages_give_nothing() -> None:
    old = 'vllm:gpu_cache_usage_perc{model_name="m"} 0.1\nvllm:prefix_cache_hits{model_name="m"} 5\n'
    assert sample(old) == {"kv_cache_percent": 10, "prefix_hits": 5}
    assert sample("<html>Log in</html>") == {}
    assert sample("vllm:num_requests_running{} lots\n") == {}


def test_servers_are_added_up() -> None:
    both = together([sample(PAGE), sample(PAGE), {}])
    assert (both["running"], both["kv_cache_percent"], both["generation_tokens"]) == (10, 75, 2000)


def test_counters_are_differences_and_gauges_are_means() -> None:
    before = {
        "running": 0.0,
        "generation_tokens": 100.0,
        "preemptions": 1.0,
        "ttft_sum_seconds": 1.0,
        "ttft_count": 10.0,
    }
    after = {
        "running": 8.0,
        "generation_tokens": 300.0,
        "preemptions": 3.0,
        "ttft_sum_seconds": 3.0,
        "ttft_count": 20.0,
    }
    between = {"running": 2.0}, {"running": 6.0}
    looks = [(0.0, before), (1.0, {}), (2.0, between[0]), (3.0, between[1]), (4.0, after)]
    found = summary(looks, client_ttft_mean_seconds=0.25)
    assert found
    assert found["running"] == {"mean": 4, "max": 6}
    assert found["waiting"] is None
    assert found["preemptions"] == 2
    assert found["generation_tokens_per_second"] == 50
    assert found["ttft_mean_ms"] == 200
    assert found["ttft_outside_server_ms"] == 50
    assert [point["seconds"] for point in found["timeline"]] == [0, 2, 3, 4]


def test_a_restarted_server_gives_no_differences() -> None:
    found = summary([(0.0, {"preemptions": 9.0}), (1.0, {"preemptions": 1.0})], None)
    assert found
    assert found["preemptions"] is None


def test_one_look_is_too_few() -> None:
    assert summary([(0.0, {"running": 1.0})], None) is None
    assert summary([], None) is None
