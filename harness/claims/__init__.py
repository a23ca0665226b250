"""The claims of the four papers' abstracts, each judged from records.

`claim.py` says what a claim and a verdict are, `evidence.py` what a claim is judged by. One file per paper lists its claims, in
our words, each with the command that tests it, the rule of its verdict and the function that applies the rule.

Importing this package imports neither torch nor Avalanche.
"""
