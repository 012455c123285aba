"""One file for each of the planners that model-predictive control can use."""
