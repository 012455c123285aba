"""One file for each of the backbones that a recipe can name."""
