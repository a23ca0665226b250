"""A hub on this machine: folders of repositories, served over the API of the Hugging Face hub.

`repositories` keeps the files, `handler` and `answers` speak the protocol, `faults` makes it fail on demand, `server` runs it.
`dataset_copies`, `shard_copies` and `model_copies` write repositories as the real hub lays them out.
"""
