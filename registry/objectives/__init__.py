"""One file for each of the objectives that a recipe can name."""
