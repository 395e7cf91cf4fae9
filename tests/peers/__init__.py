"""The tests of SciPy, NumPy and scikit-image, run on fastconv: ``python -m tests.peers``."""
