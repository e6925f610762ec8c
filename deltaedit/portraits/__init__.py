"""The miniature world: portraits of which everything is known, and the models trained on them."""
