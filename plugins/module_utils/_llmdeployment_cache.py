# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiers of a key-value cache: what each becomes for vLLM and for KServe. Pure. PRIVATE to the collection.

Each pod has tiers of its own, so sizes are per pod. Sizes are Kubernetes quantities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.llmstack.serving.plugins.module_utils._quantity import quantity

if TYPE_CHECKING:
    from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import Translation

# As KServe mounts the first file system tier: pkg/controller/v1alpha2/llmisvc/workload_kvcache.go.
_DISK = "/mnt/kv-cache-0"
_VOLUME = "kv-cache-secondary-0"


@dataclass
class Cache:
    """`gpu` is the tier on the GPU, `offloading` the ones behind it (memory, then disk)."""

    enabled: bool = True
    gpu: dict[str, Any] | None = None
    offloading: list[dict[str, Any]] = field(default_factory=list)
    eviction_policy: str | None = None

    @classmethod
    def of(cls, given: dict[str, Any], made: Translation) -> Cache:
        from ansible_collections.llmstack.serving.plugins.module_utils._llmdeployment import _no_quantity, is_quantity

        if given.get("enabled") is False:
            made.row("cache.enabled", False, (), (), "no tier behind the GPU; vLLM's prefix cache on it stays")
            return cls(enabled=False)
        cache = cls(eviction_policy=given.get("eviction_policy"))
        tiers: dict[str, dict[str, Any]] = {}
        for tier in given.get("tiers") or []:
            if tier["type"] in tiers:
                made.problems.append(f"cache.tiers has {tier['type']} twice: give one size.")
            if tier.get("size") is not None and not is_quantity(tier["size"]):
                made.problems.append(_no_quantity(f"cache.tiers: size of {tier['type']}", tier["size"]))
                continue
            if tier["type"] != "gpu" and tier.get("size") is None and not tier.get("claim"):
                made.problems.append(f"cache.tiers: {tier['type']} needs a size.")
                continue
            tiers[tier["type"]] = tier
        if "disk" in tiers and "memory" not in tiers:
            made.problems.append(
                "cache.tiers has disk without memory: vLLM moves blocks to disk by way of memory. Give a memory tier as well."
            )
        cache.gpu = tiers.get("gpu")
        cache.offloading = [tiers[name] for name in ("memory", "disk") if name in tiers]
        return cache

    @property
    def offloads(self) -> bool:
        return bool(self.offloading)

    def size_of(self, tier: str) -> str | None:
        return next((str(each["size"]) for each in self.offloading if each["type"] == tier and each.get("size")), None)

    def _disk(self) -> dict[str, Any] | None:
        return next((tier for tier in self.offloading if tier["type"] == "disk"), None)

    def gpu_flags(self, gpus: int, option: str, made: Translation) -> list[str]:
        """vLLM takes the size for each GPU; without one it takes what --gpu-memory-utilization leaves."""
        if not self.gpu:
            return []
        if not self.gpu.get("size"):
            made.row("cache.tiers[gpu]", None, (), (), "vLLM takes what is left of the GPU's memory")
            return []
        each = int(quantity(self.gpu["size"])) // max(gpus, 1)
        flag = f"--kv-cache-memory-bytes={each}"
        note = f"{option}: shared out over {max(gpus, 1)} GPU(s)"
        made.row("cache.tiers[gpu].size", self.gpu["size"], (), (flag,), note)
        return [flag]

    def offloading_field(self) -> dict[str, Any]:
        """kvCacheOffloading of KServe."""
        result: dict[str, Any] = {"cpu": self.size_of("memory") or "0"}
        if self.eviction_policy:
            result["evictionPolicy"] = self.eviction_policy
        if disk := self._disk():
            result["secondary"] = [{"fileSystem": self._file_system(disk)}]
        return result

    def between_engines(
        self, connector: str, at: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """vLLM's --kv-transfer-config for two groups of engines, with the volumes and mounts that it needs.

        KServe's kvCacheOffloading cannot be used then: its preset leaves it out where a connector is given.
        """
        between = {"kv_connector": connector, "kv_role": "kv_both"}
        if not self.offloads:
            return between, [], []
        extra: dict[str, Any] = {
            "spec_name": "TieringOffloadingSpec",
            "cpu_bytes_to_use": int(quantity(self.size_of("memory") or "0")),
        }
        if self.eviction_policy:
            extra["eviction_policy"] = self.eviction_policy
        volumes, mounts = [], []
        if disk := self._disk():
            extra["secondary_tiers"] = [{"type": "fs", "root_dir": _DISK}]
            volumes, mounts = [self._volume(disk)], [{"name": _VOLUME, "mountPath": _DISK}]
        behind = {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}
        # llm-d guides/pd-disaggregation/README.multi-tier.md
        several = {
            "kv_connector": "MultiConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"connectors": [between, behind]},
        }
        return several, volumes, mounts

    def rows(self, at: str, option: str, disaggregated: bool, made: Translation) -> None:
        for tier in self.offloading:
            kind, size = tier["type"], tier.get("size") or tier.get("claim")
            if disaggregated:
                fields = () if kind == "memory" else (f"{at}.template.volumes[{_VOLUME}]",)
                flag = "--kv-transfer-config (MultiConnector: OffloadingConnector)"
            else:
                fields = (f"{at}.kvCacheOffloading.{'cpu' if kind == 'memory' else 'secondary[0].fileSystem'}",)
                flag = "--kv-transfer-config (OffloadingConnector)"
            note = "" if kind == "memory" else "vLLM never deletes what lies there: the volume's size is the limit"
            made.row(f"cache.tiers[{kind}].size", size, fields, (flag,), note)

    @staticmethod
    def _file_system(disk: dict[str, Any]) -> dict[str, Any]:
        if disk.get("claim"):
            return {"pvc": {"ref": {"name": disk["claim"]}}}
        if disk.get("storage_class"):
            return {"pvc": {"spec": _claim(disk)}}
        return {"emptyDir": {"size": str(disk["size"])}}

    @staticmethod
    def _volume(disk: dict[str, Any]) -> dict[str, Any]:
        if disk.get("claim"):
            return {"name": _VOLUME, "persistentVolumeClaim": {"claimName": disk["claim"]}}
        if disk.get("storage_class"):
            return {"name": _VOLUME, "ephemeral": {"volumeClaimTemplate": {"spec": _claim(disk)}}}
        return {"name": _VOLUME, "emptyDir": {"sizeLimit": str(disk["size"])}}


def _claim(disk: dict[str, Any]) -> dict[str, Any]:
    return {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": disk["storage_class"],
        "resources": {"requests": {"storage": str(disk["size"])}},
    }
