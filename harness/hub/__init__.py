"""Repositories of the Hugging Face hub: list, download and upload files. Failures are reported in one sentence.

Imports neither torch nor Avalanche.
"""
