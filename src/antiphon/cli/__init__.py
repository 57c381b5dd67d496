"""The command `antiphon`. Each command's own imports wait until it runs, so that `--help` is there at once."""
