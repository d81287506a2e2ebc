"""What things cost, measured: `python -m benchmarks` (`make bench`). Each module has a `run()` that prints its rows."""
