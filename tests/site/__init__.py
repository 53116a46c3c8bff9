"""The test site: a Debian trixie root with a real Slurm, in private namespaces."""
