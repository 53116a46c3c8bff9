"""Slurm: submission through the CE, the job_submit plug-in, prolog and epilog."""
