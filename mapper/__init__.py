"""Identity to account: credentials, policy, bans, and leases in the shared gridmapdir."""
