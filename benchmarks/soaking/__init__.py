"""The parts of `benchmarks/soak.py`: the stand, what is done to it, what breaks, what must hold, what is told."""
