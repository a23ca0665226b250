"""Load a dual encoder: find its files, check its configuration, build it, read its weights, build its tokenizer.

Files may come from anybody, so nothing in them is run. `load` is the entry point.
"""
