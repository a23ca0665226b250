"""`study`, `predict` and `measure`: fine-tune domains, and predict outcomes from measures taken before training.

`study` repeats the experiment of the papers of IIMM and A-CLIP (2407.15731, 2402.09613) at any scale. Each domain is fine-tuned
with each tuning from the initial model. The study records the gain on the domain, the change on all other domains,
and the change on an out-of-distribution set. It fits a line through the domains for each measure. A study folder holds

    <domain>-<tuning>-<seed>/cell.json   accuracies after one fine-tuning; the same command continues with missing cells
    zero-shot-<seed>/<domain>.json       accuracies and measures before training
    table.csv                            one row per cell (`harness.study.study_tables`)
    regressions.csv                      one row per tuning, outcome and measure

Importing this package imports neither torch nor Avalanche.
"""
