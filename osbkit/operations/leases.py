"""How long a claim lasts, and how often the table is looked at.

Leases are compared by the database's clock (`store.rows.now`). Units: seconds.
"""

LEASE = 15.0
"""How long a claim lasts that is not renewed."""
RENEW = 5.0
"""Between two renewals."""
MARGIN = LEASE / 3
"""What is left of a lease when its holder gives up."""
WATCH = 1.0
"""Between two looks at a table that others share."""
OVERDUE = 1.0
"""After what time a row with a job is taken without it: the job was lost."""
MAX_CLAIMS = 5
"""Claims without an end, after which an operation is parked."""
SUSPECT = 2
"""Claims from which on an operation is taken up alone."""
SUSPICION = 30.0
"""How long the next suspect waits for the one before it."""
FORSAKEN = 3600.0
"""After what time a halted call whose process is gone counts as ended."""
