"""`tune`: choose the options of a strategy on validation images, with Optuna.

`space` reads the options to search, `trial_study` keeps the trials in a file (`study.journal`), `search` makes the runs of each
trial, scores them (`score`) and stops those that fall behind, and `results` writes the settings, the table and the figure.
Trials are runs of `bench --split val`, which read no test image. `harness.sweep.scheduler` starts them.

Importing this package imports neither torch nor Optuna.
"""
