"""Words on the command line -> a verb. Imports nothing heavy, so that --help answers at once."""

from __future__ import annotations

import errno
import os
import sys

import click

from shendu import __version__
from shendu.errors import Interrupted, UserError, out_of_memory
from shendu.registry import verbs

EXIT_USER, EXIT_SIGNAL = 2, 128


class Verbs(click.Group):
    """The verbs in the order of a working day: listed and described by the text of their files, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What --help and completion show of a verb; the command itself comes from `resolve_command`."""
        known = verbs().get(cmd_name)
        return click.Command(cmd_name, short_help=known.summary) if known else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        from shendu.told import command  # not above: the list of all verbs does without

        return args[0], command(args[0]), args[1:]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="shendu")
def cli() -> None:
    """Shendu (深度): deep learning as one system. Train, evaluate, predict, report: the same words for every network."""


def main() -> None:
    """Runs the command; a person's mistake is one line and exit code 2, a signal's code is 128 + its number."""
    try:
        code = cli.main(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        if isinstance(code, int) and code:  # what a command that raises Exit returns here
            sys.exit(code)
    except UserError as error:
        stop(str(error), EXIT_USER)
    except Interrupted as why:
        stop(str(why), EXIT_SIGNAL + why.signal)
    except (click.Abort, KeyboardInterrupt):
        stop("stopped", EXIT_SIGNAL + 2)
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "shendu"
        stop(f"{error.format_message()} (see {path} --help)", EXIT_USER)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if out_of_memory(error):
            stop(
                "out of memory, or its limit (ulimit -v) was hit; free some or raise the limit, or try a smaller --batch-size",
                EXIT_USER,
            )
        from shendu.own import told  # not above: the list of all verbs does without

        if not (words := told(error) or unwritten(error)):
            raise
        stop(words, EXIT_USER)


def unwritten(error: BaseException) -> str:
    """That what is printed cannot be written, as where a disk is full; empty: it is another error."""
    if not isinstance(error, OSError) or error.filename or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return ""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return f"cannot write the output ({error.strerror}); make room, or send it elsewhere"


def stop(message: str, code: int) -> None:
    from shendu.shown import line

    try:
        click.echo(f"shendu: {line(message)}", err=True)
    except OSError:  # the terminal was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
