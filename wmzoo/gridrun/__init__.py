"""``wmzoo grid``: every cell of a grid trained and evaluated in a process of its own, and all of them compared."""
