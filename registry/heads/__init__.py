"""One file for each of the heads that a recipe can name."""
