"""OpenMP loops over output tiles: pack, compute, store. Scratch memory, threads and the GIL are dealt with here."""
