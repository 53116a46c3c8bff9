"""gridwarden says which grid identity is behind every process of a batch site, and acts on it.

This package is the shared ground: configuration, evidence (ledger, holders, register) and the values
that the four parts exchange.  ``mapper``, ``hooks``, ``prune`` and ``accounting`` are linked in beside it.
"""

__version__ = "0.1.0"
