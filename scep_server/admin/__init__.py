"""The second listener, for operators and machines that watch.

Takes HTTP on loopback. Gives whether the server lives, whether it can issue, and what it counted.
May touch metrics and the checks it is handed.
"""

from __future__ import annotations

from scep_server.admin.health import AdminSite, Readiness

__all__ = ["AdminSite", "Readiness"]
