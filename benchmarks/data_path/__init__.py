"""The parts of `benchmarks/data.py`: how fast clips for training come out of video files."""
