"""Load a dual encoder: find its files, check its configuration, build it, read its weights, build its tokenizer."""
