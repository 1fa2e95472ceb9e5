"""HDF5: how a file is known, and what its datasets are, as h5py finds them."""
