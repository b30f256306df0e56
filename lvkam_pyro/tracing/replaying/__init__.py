"""Functions of tensors repeated from a record of their operations, without running them again."""
