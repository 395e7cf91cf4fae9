"""Every line of ``layers.txt`` and ``signals.txt`` in every library that is installed: ``python -m bench.lines``.

``__main__.py`` is the command; ``work.py`` says what the lines are and who does them; ``measure.py`` checks and times
one, in this process or, on more than one thread, in a ``worker.py`` for each library; ``verdicts.py`` holds the results
against their targets; ``report.py`` and ``plot.py`` show them.
"""
