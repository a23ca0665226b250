"""`sweep`: a grid of runs (strategies by orders by seeds), each `bench` in a process of its own, with its own record and log.

The grid is a list (`plan`), what is missing of it is read from the records (`status`), and one loop (`loop`) keeps a backend
busy with it: processes of this machine (`local`), tasks of a Ray cluster (`ray_backend`), jobs of Slurm (`slurm`). No list of
what has been done is kept beside the records, so the same command goes on wherever and however the last one ended.

Importing this imports neither torch nor Avalanche.
"""
