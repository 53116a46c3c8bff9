"""The node agent, ``gridwarden-agent``: what of root's work on a node needs a process that stays."""
