"""What each `lvkam` command does, on programs and run folders."""
