"""What is minimised, where two or more systems share it."""
