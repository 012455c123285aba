"""``wmzoo bench``: what the parts of the zoo take on this machine, beside plain ways of doing the same."""
