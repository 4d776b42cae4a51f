"""Parts of benchmarks/performance.py and of the benchmarks beside it."""
