"""LiveBench's verifiers (White et al. 2024, arXiv:2406.19314), one file a category.

Written after the scoring rules of https://github.com/LiveBench/LiveBench (Apache-2.0; parts of its coding task after
LiveCodeBench, MIT), whose files each module names. Every function gives a score between 0 and 1, or None where the answer holds
nothing that could be compared, which LiveBench counts as 0.
"""
