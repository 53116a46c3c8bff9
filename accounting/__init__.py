"""CPU time to people: collection, store, attribution, reports, and whoran."""
