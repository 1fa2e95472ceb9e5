"""Files of PyTorch, read without it: their containers, their pickles, the tensors that count."""
