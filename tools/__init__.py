"""Scripts that make the project's assets. The shipped packages do not import them.

    python -m tools.pretrain        pretrain the tiny CLIP in models/tiny
    python -m tools.pretrain --family siglip    pretrain a tiny model of another family (families.py)
    python -m tools.family_tables   measure the tiny models of all families, for their cards
    python -m tools.pretrain_words  train the tiny CLIP that reads, in models/tiny-words
    python -m tools.attackable      measure how far written words mislead a model
    python -m tools.study_data      make tasks of the suite `broad` from pinned packages
    python -m tools.result_rows RESULTS    rows of measured results from finished runs
    python -m tools.tune mtil       choose the training options of the mini edition (or `cil`)

Files in reading order: pretrain.py (the training loop), families.py (architectures and losses), sampler.py (batches),
compose.py (pictures from masks), captions.py, vocabulary.py (the tokenizer), pool.py with pool_shapes.py, icon_names.py and
sources.py (the pool of masks); tune.py; pages.py and site_pages.py (tables of measured numbers in the pages).
"""
