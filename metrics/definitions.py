"""Definitions of the metrics that summarise a run, for `list metrics`. `metrics.matrix` computes them. Imports nothing."""

METRICS = {
    "transfer": "mean over tasks i >= 2 of the mean accuracy on i before it is trained: rows 1 to i - 1, not row 0",
    "average": "mean accuracy over all tasks and rows 1 to T, without row 0",
    "last": "mean accuracy over all tasks after the last one is trained: row T",
    "forgetting": "mean over tasks i < T of the best accuracy on i in rows i to T - 1, minus the accuracy in row T",
    "bwt": "backward transfer: mean over tasks i < T of the accuracy on i in row T, minus that in row i",
    "retention": "accuracy on held-out domains and tasks not trained yet in percent of zero-shot, mean over rows",
    "cil_average": "class-incremental: mean over steps of the accuracy on the test images of all classes seen so far",
    "cil_last": "class-incremental: accuracy on the test images of all classes after the last step",
}
"""Row j of the accuracy matrix is measured after training task j, row 0 before any training. T is the number of tasks."""
