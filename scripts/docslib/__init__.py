"""Makes the parts of the docs that say what the code says already."""
