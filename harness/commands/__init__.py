"""The commands of the command line, one module per command. Importing this package imports no command."""

COMMANDS = {
    "bench": "run a benchmark with a strategy",
    "sweep": "run a grid of strategies, orders and seeds, on one machine or a cluster",
    "check": "check that your method survives an interruption",
    "measure": "measure datasets with one forward pass, before any training",
    "study": "fine-tune each domain with each tuning: what predicts gain and forgetting",
    "predict": "predict what fine-tuning on a dataset will gain and cost, from a study",
    "data": "show, download and verify the papers' datasets",
    "leaderboard": "show one table of all finished runs",
    "compare": "compare two methods on the same data and seeds, with intervals",
    "report": "write one page about finished runs, with figures",
    "list": "list benchmarks, strategies, tunings, measures, ...",
}
"""The line of each command in `--help`. The module of the same name has `add_arguments(parser)` and `run(arguments)`."""
