"""What shows that nobody is ever given another's account: kills, crowds, calls that fail, and a file system that lies.

The tests are in ``tests/parts/test_kills.py``, ``tests/parts/test_failing_calls.py``,
``tests/parts/test_unreliable_file_system.py`` and ``tests/story/test_hand_outs.py``.  Each has a short form, which ``make test`` runs, and a long one, which
``make proof`` runs.
"""

from __future__ import annotations

import os

LONG = os.environ.get("GRIDWARDEN_PROOF") == "long"
