"""``wmzoo scaling``: a grid of sizes, training lengths and data, and the power laws that it follows."""
