cimport numpy as cnp

cdef cnp.ndarray empty_of(int rank, cnp.npy_intp *shape, int dtype)
