"""fastconv measured against the libraries people use today.

Run from the repository root::

    python -m bench              the main job: a photograph through filters and first layers of networks
    python -m bench.targets      every speed, memory and start-up target, each with a verdict
    python -m bench.lines        every line of layers.txt and signals.txt in every library, README's plots

How the files stand on each other, top to bottom::

    __main__.py   targets/ <- lines/       the programs
         |            |         |
    measure.py  tables.py  pictures.py     one case measured; what is printed, plotted and drawn
         |
    cases.py      networks.py              the work: filters, also by name, on a photograph; layers at their best
         |            |
    peers.py  onnx_model.py                each library wrapped so that it does the same work
         |
    agreement.py  timing.py  machine.py    right first, then fast, and on what
         |
    layers.py  signals.py  filters.py  photo.py    shapes, weights, pixels
"""
