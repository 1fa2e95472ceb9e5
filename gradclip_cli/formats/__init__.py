"""From a file to its tensors: the registry of formats, and one module a format."""
