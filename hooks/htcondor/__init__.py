"""HTCondor, and whoever calls a mapping plugin as it does."""
