"""Archives of arrays, `.npz`: how they are known, and what reads and lays them out."""
