"""The small broker without the memory of proved passwords: each request proves one.

`osbkit serve scripts.benchmarks.forgetful:small`
"""

from osbkit.api import auth
from scripts.benchmarks.brokers import small

auth.REMEMBERED_FOR = 0.0

__all__ = ["small"]
