"""The toolchain: packages models into bundles and tells what is in them."""

__version__ = "0.1.0"
