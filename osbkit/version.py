"""The version of this package, as it was installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("osbkit")
except PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0.0.0"
