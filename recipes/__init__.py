"""Recipes that come with the package; a recipe is named by its path in here, without .yaml."""
