"""The batch systems as a node sees them: each question answers yes, no or unknown (None)."""
