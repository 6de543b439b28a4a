"""Networks that learn how data are distributed: energies, codes, and drawing anew."""
