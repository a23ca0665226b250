"""`sweep`: run a grid (strategies x orders x seeds), each run as `bench` in a separate process with its own record and log.

`grid` lists the runs, `run_status` reads from their records which are missing, and `scheduler` keeps a backend busy with
them: processes of this machine (`local_backend`), tasks of a Ray cluster (`ray_backend`) or jobs of Slurm (`slurm_backend`).
The state of a sweep is read from the run records, so the same command continues however the last one ended.

Importing this package imports neither torch nor Avalanche.
"""
