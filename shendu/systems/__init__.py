"""One landmark is one file."""
