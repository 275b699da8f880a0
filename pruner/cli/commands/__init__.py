"""The commands, one module each; the name ends in an underscore because some are keywords or built-ins."""
