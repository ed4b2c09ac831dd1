"""The cases of `benchmarks/gpu.py`, by what they ask: each is a function of a report, a size and a folder."""
