"""A cycle: the stages in their order, and what happens when one fails."""
