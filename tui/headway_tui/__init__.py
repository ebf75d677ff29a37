"""The terminal app's package. It holds no code yet: the app is to come with a later release.

What it will show can be had today from `headway watch`, `headway show` and `headway ls`.
"""

from __future__ import annotations
