"""Small networks trained with nothing but NumPy and fastconv: `python -m examples.digits` and `examples.faces`."""
