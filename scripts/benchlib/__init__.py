"""What `scripts/bench` is made of: scenarios as data, measurements in a world, and a table of what came of them."""
