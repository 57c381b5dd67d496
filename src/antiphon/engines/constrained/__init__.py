"""Tool choice and schemas for engines that do not keep to them by themselves: see `engine.ConstrainedEngine`."""
