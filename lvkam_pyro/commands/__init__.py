"""The `lvkam` commands, on programs and run folders."""
