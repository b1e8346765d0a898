"""The commands that look at an installation or take it away: `check`, `status`, `uninstall`."""

from pathlib import Path

from installer import files, inspection, removal, report, sandboxes
from installer.context import Context, Options
from installer.errors import InstallError
from installer.inspection import Registration
from installer.proving import show_proof
from installer.receipt import Receipt
from installer.wording import INSTALLER

OK, FAILED, NOT_REGISTERED = 0, 1, 3
REGISTERED, ANOTHERS = "registered", "another's"
BY_FORCE = "With --force if it is to be replaced."


def check(context: Context, options: Options) -> int:
    """Read everything again that was written, and start the host once.

    Returns:
        0: all is well. 1: something is wrong. 3: the host works, but no browser knows it.

    Raises:
        InstallError: the host does not work.
    """
    say, written = context.terminal.say, context.receipt()
    if not written.environment:
        raise _not_installed(context)
    problems = [*_unfinished(written), *_file_problems(written), *_environment_problems(context)]
    found = inspection.inspect(context.platform, context.host_name, context.prefix, context.registry)
    states = [_state(context, written, one) for one in found]
    for one, state in zip(found, states, strict=True):
        say(f"  {state:<15} {one.title} ({one.scope}): {one.path}")
        if not one.is_missing or str(one.path) in written.files:
            problems += [f"{problem.text} {problem.remedy}" for problem in one.problems]
        if state == ANOTHERS and one.manifest:
            say(f"                  starts {one.manifest.path}")
            if str(one.path) in written.files:
                problems.append(f"{one.path} starts {one.manifest.path} now. {inspection.RUN_INSTALLER} {BY_FORCE}")
    for problem in problems:
        say(f"  Problem: {problem}")
    if options.prove:
        show_proof(context, options)
    if problems:
        say(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found.")
        return FAILED
    if REGISTERED not in states:
        report.say_no_registration(context, is_any_here=bool(found))
        return NOT_REGISTERED
    say("All is well.")
    return OK


def _not_installed(context: Context) -> InstallError:
    return InstallError(f"Nothing is installed in {context.prefix}.", f"To install: {INSTALLER}")


def _file_problems(written: Receipt) -> list[str]:
    problems = []
    for path, entry in written.files.items():
        if entry.kind != "launcher":
            continue
        content = files.read(Path(path))
        if content is None:
            problems.append(f"{path} is gone. {inspection.RUN_INSTALLER}")
        elif files.sha256(content) != entry.digest:
            problems.append(f"{path} was changed since it was written. {inspection.RUN_INSTALLER}")
    return problems


def _environment_problems(context: Context) -> list[str]:
    if context.environment.ask("import native_host, messages, backends; print('ok')") == "ok":
        return []
    return [f"The environment {context.environment.folder} does not run. {inspection.RUN_INSTALLER}"]


def _unfinished(written: Receipt) -> list[str]:
    return [] if written.fingerprint else [f"The installation was not finished. {inspection.RUN_INSTALLER}"]


def _state(context: Context, written: Receipt, one: Registration) -> str:
    """One word or two for a browser's manifest; one that starts another program than ours registers that one."""
    if one.is_missing:
        return "not registered"
    if one.problems or one.manifest is None:
        return "problem"
    return REGISTERED if one.manifest.path in {str(context.launcher), *written.launchers()} else ANOTHERS


def status(context: Context) -> int:
    """Say what is installed where; nothing is started.

    Returns:
        0, or 1 where nothing is installed, or not all of it.
    """
    say, written = context.terminal.say, context.receipt()
    if written.environment:
        say(f"TabAgent native host {written.version} in {context.prefix}")
        say(f"  engines      {', '.join(written.engines)}")
        say(f"  launcher     {context.launcher}")
        say(f"  environment  {written.environment}")
        for sentence in _unfinished(written):
            say(f"  {sentence}")
    else:
        say(f"Nothing is installed in {context.prefix}. To install: {INSTALLER}")
    for one in inspection.inspect(context.platform, context.host_name, context.prefix, context.registry):
        say(f"  {_state(context, written, one):<15} {one.title} ({one.scope}): {one.path}")
        if one.manifest:
            say(f"                  starts {one.manifest.path}")
            say(f"                  for {', '.join(one.manifest.allowed)}")
        for problem in () if one.is_missing else one.problems:
            say(f"                  {problem.text} {problem.remedy}")
    for boxed in sandboxes.detect(context.platform):
        say("  " + boxed.truth.replace("\n", "\n    "))
    return OK if written.environment and written.fingerprint else FAILED


def uninstall(context: Context, options: Options) -> int:
    """Remove what the receipt lists, and with --purge the daemon's own files.

    Returns:
        0, or 1 where something that was written is left since it was changed.

    Raises:
        InstallError: the system refused.
    """
    say, written = context.terminal.say, context.receipt()
    if options.dry_run:
        _show_removal(context, written, options)
        return OK
    installed = bool(written.files or written.environment)
    if installed:
        removal.stop_daemon(context.environment)
    purged = removal.purge(context.platform) if options.purge else []
    for name in purged:
        say(f"  Removed: {name}")
    if not installed:
        say(f"Nothing is installed in {context.prefix}.")
        return OK
    outcome = removal.remove_all(context, written, force=options.force)
    for title, names in (("Removed", outcome.removed), ("Left alone", outcome.not_ours), ("Kept", outcome.kept)):
        for name in names:
            say(f"  {title}: {name}")
    if left := removal.daemon_files(context.platform):
        folders = dict.fromkeys(str(path.parent) for path in left)
        say(f"  The host's statistics, settings, logs and models are still in {', '.join(folders)}.")
        say(f"  To remove them too: {INSTALLER} uninstall --purge")
    say("Something that was changed is left." if outcome.kept else "Done.")
    return FAILED if outcome.kept else OK


def _show_removal(context: Context, written: Receipt, options: Options) -> None:
    say = context.terminal.say
    say("Dry run: nothing is removed.")
    names = [*written.files, *(f"{entry.hive}\\{entry.key}" for entry in written.keys)]
    if written.environment:
        names.append(written.environment)
    if options.purge:
        names += map(str, removal.daemon_files(context.platform))
    for name in names:
        say(f"  would remove: {name}")
