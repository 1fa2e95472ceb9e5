"""What a dump is made of: tensors that say where they lie, their dtypes, names and groups."""
