"""Texts: words, running text, sentence pairs, letters; tokenizers."""
