"""One file for each of the tokenizers that a recipe can name."""
