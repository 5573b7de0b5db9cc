"""From what Nix said and the user's tree to places in that tree: pure, the tree is read through a protocol."""
