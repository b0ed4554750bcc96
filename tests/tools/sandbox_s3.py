# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's S3, for tests: asked without the collection's own code, or as options of its module."""

from __future__ import annotations

from typing import Any

import boto3


def client(sandbox: dict[str, Any]) -> Any:
    """boto3's client for the S3 of `.sandbox/endpoints.json`."""
    s3 = sandbox["s3"]
    return boto3.client(
        "s3",
        endpoint_url=s3["endpoint_url"],
        region_name=s3["region"],
        aws_access_key_id=s3["access_key_id"],
        aws_secret_access_key=s3["secret_access_key"],
    )


def upload_options(sandbox: dict[str, Any], bucket: str) -> dict[str, Any]:
    """Options of s3_model_upload for a bucket that is made if it is missing."""
    s3 = sandbox["s3"]
    return {
        "endpoint_url": s3["endpoint_url"],
        "region": s3["region"],
        "access_key": s3["access_key_id"],
        "secret_key": s3["secret_access_key"],
        "bucket": bucket,
        "create_bucket": True,
    }
