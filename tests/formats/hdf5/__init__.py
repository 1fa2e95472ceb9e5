"""Files that h5py has written, and the script that made them."""
