# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

# The options are those of plugins/module_utils/_change_module.py (ARGUMENTS).

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  name:
    description: Name of the InferenceService. It must be there; M(llmstack.serving.inferenceservice) creates one.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    default: default
  force_conflicts:
    description: Take over fields that other field managers own. Without it, such a conflict is an error that names them.
    type: bool
    default: false
  field_manager:
    description:
      - The name under which the API server records who owns which field.
      - With the manager that has applied the InferenceService, the change belongs to the same owner as the rest, so that the
        next run of a playbook meets a difference and no conflict.
    type: str
    default: llmstack.serving
  wait:
    description: Wait until this change serves.
    type: bool
    default: true
  wait_timeout:
    description: Longest time to wait, in seconds. What cannot heal by itself ends the wait at once.
    type: int
    default: 1800
"""
