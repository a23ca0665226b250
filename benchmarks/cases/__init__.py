"""Case studies: experiments of PAINT and A-CLIP as benchmarks, one per file.

A case study is a stream like any other, so every strategy, tuning, plugin and table works on it. It adds:

- tasks on which a model is patched, made from other domains or drawn for the study,
- supported tasks: held-out domains that should stay as they are, and by which alpha is chosen together with the patched task,
- targets: held-out domains on which the patch is meant to have an effect. They have test images only, so nothing is chosen by
  them (`benchmarks.plan.StreamPlan.targets`).

`case.py` has their common parts. `benchmarks.registry.DEFAULT_STRATEGIES` names the strategies that `bench` runs
without `--strategy`. The test accuracies between the initial and the fine-tuned weights are recorded for each task
(`strategies.patching`, option `curve`).
"""
