"""What a kernel says about input that breaks its contract."""


class KernelInputError(ValueError):
    """Shapes, dtypes or values do not fit the contract of the operation."""
