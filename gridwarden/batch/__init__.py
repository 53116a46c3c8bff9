"""The batch systems as a node sees them: each question answers yes, no or unknown (None)."""

NO_BATCH_SYSTEM = "none"  # as prune.batch: [] is in the node file, where a key without a value is not there
