"""What every part must do: tests over everything in the registry, for parts of this package and of its users.

They come with the package, so that ``wmzoo test backbones/my_mixer`` runs them in any folder.
"""
