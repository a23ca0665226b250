"""The commands of the command line, one module per command. Importing this package imports no command."""

COMMANDS = {
    "bench": "run a benchmark with a strategy",
    "sweep": "run a grid of strategies, orders and seeds, on one machine or a cluster",
    "tune": "choose options of a strategy on validation images",
    "check": "check that your method survives an interruption",
    "measure": "measure datasets with one forward pass, before any training",
    "study": "fine-tune each domain with each tuning: what predicts gain and forgetting",
    "predict": "predict what fine-tuning on a dataset will gain and cost, from a study",
    "data": "show, download and verify the papers' datasets",
    "classify": "classify images with the model of a finished run",
    "leaderboard": "show one table of all finished runs",
    "rescore": "score saved predictions under another protocol: seen, unseen, calibration",
    "compare": "compare two methods on the same data and seeds, with intervals",
    "claims": "show every claim of the four abstracts, with the command that tests it and the verdict",
    "report": "write one page about finished runs, with figures",
    "export": "write the model of a run for open_clip, transformers, plain torch or ONNX",
    "list": "list benchmarks, strategies, tunings, measures, ...",
}
"""The line of each command in `--help`. The module of the same name has `add_arguments(parser)` and `run(arguments)`."""
EXAMPLES = """\
examples:
  python cli.py bench mtil --strategy zscl                      mini edition, Order I, seed 0: two minutes on a laptop
  python cli.py bench mtil --strategy finetune --seed 0 1 2     three runs
  python cli.py bench mtil --strategy zscl --order II --set l2=0.1 iterations=80
  python cli.py bench mtil --strategy my_method.py:MyMethod     your own method, from its file
  python cli.py bench cil --strategy zscl                       class-incremental, mini edition: one minute
  python cli.py bench cil --dataset PHOTOS --steps 5            the same on your own folder: PHOTOS/CLASS/*.jpg
  python cli.py bench stream --tasks PHOTOS,digits              any domains, one after the other
  python cli.py bench mtil --edition full --data-root DATA      the paper's eleven datasets, ViT-B-16
  python cli.py bench counting --seed 0 1 2                     a case study of PAINT; `list benchmarks` names the others
  python cli.py claims                                          the papers' claims and the verdicts of your runs
  python cli.py sweep --strategies zscl,lora --seeds 0-4        a grid of runs, on one machine or a cluster
  python cli.py classify --run results/.../zscl-52556192e1 PHOTOS   the likeliest classes of your images
  python cli.py tune --strategy zscl --space l2=log:0.01:10     options chosen on validation images
  python cli.py leaderboard --csv leaderboard.csv               all finished runs, one row per method
  python cli.py leaderboard results --from OWNER/NAME           next to the records of a hub dataset
  python cli.py rescore --protocol task                         the same predictions among each task's own classes
  python cli.py measure PHOTOS digits                           IIMM and other measures, before any training
  python cli.py predict PHOTOS                                  what fine-tuning on it will gain and cost
  python cli.py compare zscl finetune                           paired differences with 95 % intervals
  python cli.py report --html report.html                       one page about all finished runs
  python cli.py check my_method.py:MyMethod                     does the method survive an interruption?
  python cli.py export RUN --to open_clip --out model           the model of a run for other programs
  python cli.py list strategies                                 what --strategy takes
"""
"""The examples at the end of `--help`."""
