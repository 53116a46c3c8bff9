"""The payload launcher: runs what a pilot fetched as its owner, and what belongs to it."""
