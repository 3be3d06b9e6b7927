"""`osbkit client`: ask any broker, as a platform would.

    catalog                               what it offers
    provision, update, deprovision        an instance
    bind, unbind                          a binding
    fetch, poll                           either

Exit status: 0 done, 1 the broker said no, failed or is away, 2 the command line
cannot be used. Nothing of the server is imported here: the client starts fast and
works against any broker.
"""

import typer

from osbkit.cli.client.bindings import bind, unbind
from osbkit.cli.client.instances import deprovision, provision, update
from osbkit.cli.client.looking import catalog, fetch, poll
from osbkit.cli.client.session import connected

app = typer.Typer(
    no_args_is_help=True, help="Ask any broker over HTTP, as a platform would."
)
app.command()(connected(catalog))
app.command()(connected(provision))
app.command()(connected(update))
app.command()(connected(bind))
app.command()(connected(fetch))
app.command()(connected(poll))
app.command()(connected(unbind))
app.command()(connected(deprovision))
