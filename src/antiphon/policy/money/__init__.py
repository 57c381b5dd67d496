"""Money: what calls cost, and how much they may."""
