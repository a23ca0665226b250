"""`study`, `predict` and `measure`: fine-tune domains, and predict outcomes from measures taken before training.

In `study`, each domain is fine-tuned with each tuning from the initial model, as in the papers of IIMM and A-CLIP (2407.15731,
2402.09613). `--protocol paper` trains and chooses settings as IIMM's code and paper do (`harness.study.protocol`). With
`--protocol mini` a cell is one training with our fixed settings, which is not the papers' experiment. The study records the
gain on the domain, the change on all other domains, and the change on an out-of-distribution set. It fits a line through the
domains for each measure. A study folder holds

    <domain>-<tuning>-<seed>/cell.json   accuracies after one fine-tuning; the same command continues with missing cells
    zero-shot-<seed>/<domain>.json       accuracies and measures before training
    table.csv                            one row per cell (`harness.study.study_tables`)
    changes.csv                          one row per cell and other domain
    regressions.csv                      one row per tuning, outcome and measure

`predict` reads a study (`forecast`, `selection`). `findings` prints its tables, and those of docs/study_plan.md (`trial`):
confirmatory lines (`confirmatory`), exploratory ones (`exploratory`, `noise`, `difficulty`).

Importing this package imports neither torch nor Avalanche.
"""
