"""The scenario table: what a batch job goes through, and what everybody then sees.

``table`` has the rows, ``statements`` what may be said in one, ``play`` the steps of a row, which a batch system's
adapter (``slurm``) performs.  A row knows no batch system: HTCondor and PBS need an adapter each, and nothing else.
"""
