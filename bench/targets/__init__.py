"""Every target of speed, memory and start-up, measured and judged: ``python -m bench.targets``.

``__main__.py`` runs groups of rows and writes the verdicts; ``row.py`` is one verdict. The groups of
``signal_rows.py``, ``layer_rows.py``, ``dropin_rows.py`` and ``random_rows.py`` are measured in this process,
those of ``process_rows.py`` in fresh ones, which run ``child.py``. ``draw.py`` makes up the random calls.
"""
