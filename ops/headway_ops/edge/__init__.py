"""`headway edge`: what an edge needs beyond what every installation has."""

from __future__ import annotations
