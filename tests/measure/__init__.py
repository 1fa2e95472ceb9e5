"""What is measured of tensors."""
