# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module reaches the API of GKE. PRIVATE to the collection: no stable interface."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project:
    description: The Google Cloud project.
    type: str
    required: true
  location:
    description: The region of the cluster, or the zone of a zonal one.
    type: str
    required: true
  credentials:
    description:
      - A file with the key of a service account.
      - Without it and without O(access_token), the application default credentials - E(GOOGLE_APPLICATION_CREDENTIALS), those of
        C(gcloud), or the machine's own.
    type: path
  access_token:
    description: An access token, which is then used as it is.
    type: str
  endpoint:
    description: Where the API answers.
    type: str
    default: https://container.googleapis.com
  wait_timeout:
    description: Seconds to wait for the end of Google's operations. Those go on if it is too short.
    type: int
    default: 1800
requirements:
  - google-auth (not with O(access_token))
notes:
  - Google does one operation on a cluster at a time. A change that another operation holds up waits for its end.
"""
