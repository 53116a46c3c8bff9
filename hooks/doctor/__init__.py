"""What is amiss with gridwarden on this machine, and what mends it; nothing in here changes anything."""
