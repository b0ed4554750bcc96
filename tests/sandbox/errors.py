# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sandbox says when it cannot go on."""

from __future__ import annotations


class SandboxError(Exception):
    """One sentence for the person at the keyboard: what is wrong and what to do."""
