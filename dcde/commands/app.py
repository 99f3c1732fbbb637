"""The `dcde` command; each subcommand has a file of its name."""

from __future__ import annotations

import typer

from dcde.commands.check import check
from dcde.commands.eval import eval_command
from dcde.commands.experiments import experiments
from dcde.commands.export import export
from dcde.commands.preset import preset
from dcde.commands.push import push
from dcde.commands.reconstruct import reconstruct_command

# Rich would take the brackets of hf:OWNER/NAME[/FOLDER] for its markup.
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main() -> None:
    """Shrink the decoder of a Deep Compression AutoEncoder by pruning and distillation."""


app.command()(check)
app.command()(preset)
app.command("eval")(eval_command)
app.command("reconstruct")(reconstruct_command)
app.command()(export)
app.command()(push)
app.command()(experiments)
