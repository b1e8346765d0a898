"""The `install` command: environment, launcher, manifests, proof."""

from collections.abc import Sequence
from pathlib import Path

from installer import browsers, engines, files, manifest, registration, removal, report, sandboxes
from installer.browsers import Browser, Target
from installer.context import Context, Options
from installer.errors import InstallError
from installer.programs import write_launcher
from installer.proving import show_proof
from installer.receipt import Receipt, WrittenFile
from installer.registration import PlannedManifest, Verdict
from installer.sources import Checkout
from installer.wording import AS_ADMINISTRATOR


def install(context: Context, options: Options, checkout: Checkout) -> int:
    """Install, register and prove.

    Returns:
        The exit status: 0, or 1 where something that was asked for could not be done.

    Raises:
        InstallError: it could not go on.
    """
    say = context.terminal.say
    entries = entries_by_family(options.extension_ids)
    written = context.receipt()
    wanted = engines.expand([*written.engines, *options.engines])
    planned = registration.plan_all(
        choose_targets(context, options), context.launcher, entries, written, context.registry, force=options.force
    )
    say(f"TabAgent native host {checkout.version}, into {context.prefix}")
    if options.dry_run:
        report.show_plan(context, planned, wanted)
        return 0
    check_rights(context, planned)
    missing = prepare_environment(context, checkout, wanted, written)
    write_launcher(context, written)
    note_logs(context, written)
    refused = register(context, planned, written)
    report.say_browsers(context, planned, options)
    proven = not options.prove or prove_it(context, options)
    if proven:
        report.say_next(context, checkout, planned, written)
    return 1 if missing or refused or not proven else 0


def note_logs(context: Context, written: Receipt) -> None:
    """Remember the folders that the host is about to make for its logs, so that `uninstall --purge` leaves none."""
    written.note_folders(Path(context.platform.log_folder()))
    written.save(context.prefix)


def prove_it(context: Context, options: Options) -> bool:
    """Show the host at work; False, with the reason said, where it does not."""
    try:
        show_proof(context, options)
    except InstallError as error:
        report.say_failure(context, "Everything is written, but the host does not work.", error)
        return False
    return True


def entries_by_family(extension_ids: Sequence[str]) -> dict[str, list[str]]:
    """The manifest entries for those extensions, by browser family.

    Raises:
        InstallError: one is not an extension's id.
    """
    entries: dict[str, list[str]] = {"chromium": [], "firefox": []}
    for family, entry in map(manifest.allowed_entry, extension_ids):
        entries[family].append(entry)
    return entries


def choose_targets(context: Context, options: Options) -> list[Target]:
    """Where manifests go: the browsers named, else (without --user-data-dir) all that are here.

    Raises:
        InstallError: a browser's name is unknown, or it has no folder for all users.
    """
    platform, host = context.platform, context.host_name
    if options.user_data_dirs and platform.system == "windows":
        raise InstallError("On Windows a browser finds hosts through the registry, whatever its --user-data-dir.")
    profiles = [browsers.profile_target(folder, host) for folder in options.user_data_dirs]
    if options.browsers:
        chosen = [browsers.by_name(platform, name) for name in options.browsers]
    else:
        chosen = [] if profiles else here(context)
    if context.system and not options.browsers:
        chosen = [one for one in chosen if platform.system == "windows" or one.seats[platform.system].system]
    return [
        *(browsers.target(platform, one, host, context.prefix, system=context.system) for one in chosen),
        *profiles,
    ]


def here(context: Context) -> list[Browser]:
    """The browsers on this machine, with those whose Snap reads an ordinary browser's folder."""
    found = browsers.detect(context.platform, context.registry)
    for boxed in sandboxes.detect(context.platform):
        if boxed.registers_with and boxed.registers_with not in {one.name for one in found}:
            found.append(browsers.by_name(context.platform, boxed.registers_with))
    return found


def check_rights(context: Context, planned: Sequence[PlannedManifest]) -> None:
    """Fail before anything is downloaded, where the end would fail for want of rights, or not be what was meant.

    Raises:
        InstallError: the prefix, or with --system a manifest's folder, cannot be written; or sudo would have it
            installed for root.
    """
    user = context.platform.env.get("SUDO_USER", "root")
    if user != "root" and context.platform.uid == 0 and not context.system:
        raise InstallError(
            f"With sudo this would be installed for root, and the browsers of {user} would not find it.",
            "Run it without sudo: no rights are needed. For all users of this machine: add --system.",
        )
    paths = [context.launcher]
    if context.system:
        paths += [Path(one.target.manifest) for one in planned if one.verdict is not Verdict.UNCHANGED]
    for path in paths:
        if files.is_writable(path):
            continue
        if context.system:
            raise InstallError(
                f"--system registers for all users of this machine, and you may not write {path.parent}.",
                f"Run it with the rights of an administrator ({AS_ADMINISTRATOR}), or leave --system out:"
                " for you alone no rights are needed.",
            )
        raise InstallError(
            f"You may not write {path.parent}.",
            "Choose another place with --prefix FOLDER, or make the folder writable. Do not use sudo for this.",
        )


def prepare_environment(context: Context, checkout: Checkout, wanted: Sequence[str], written: Receipt) -> list[str]:
    """Bring the environment up to date with the checkout.

    Returns:
        The engines that could not be installed.

    Raises:
        InstallError: the environment or the host itself could not be installed.
    """
    environment, fingerprint = context.environment, checkout.fingerprint()
    works = environment.works() and written.environment == str(environment.folder)
    if not works or written.fingerprint != fingerprint:
        written.note_folders(context.prefix)
        files.make_folder(context.prefix, 0o755 if context.system else 0o700)
        written.environment, written.fingerprint, written.version = str(environment.folder), "", checkout.version
        written.files.setdefault(str(environment.log), WrittenFile("log", ""))
        written.save(context.prefix)
        if works:
            removal.stop_daemon(environment)
        else:
            written.engines = []
            with context.terminal.step("Making a private Python environment", "Made a private Python environment"):
                environment.create()
        engines.install_host(environment, checkout, context.terminal)
        written.engines = engines.expand(written.engines)
        written.fingerprint = fingerprint
        written.save(context.prefix)
    else:
        context.terminal.say("  The environment is up to date.")
    return _add_engines(context, checkout, wanted, written)


def _add_engines(context: Context, checkout: Checkout, wanted: Sequence[str], written: Receipt) -> list[str]:
    """Install those that are missing; a running daemon leaves, since it has looked for engines already."""
    failed = []
    for engine in wanted:
        if engine in written.engines:
            continue
        try:
            engines.install_engine(context.environment, checkout, engine, context.terminal)
        except InstallError as error:
            failed.append(engine)
            report.say_failure(context, f"{engine} is not installed; everything else goes on without it.", error)
            continue
        written.engines.append(engine)
        written.save(context.prefix)
        removal.stop_daemon(context.environment)
    return failed


def register(context: Context, planned: Sequence[PlannedManifest], written: Receipt) -> list[str]:
    """Write the manifests; one that fails does not stop the others.

    Returns:
        The titles of the browsers that are not registered.
    """
    refused = []
    for one in planned:
        title, path = one.target.title, one.target.manifest
        if one.verdict is Verdict.FOREIGN:
            refused.append(title)
            context.terminal.say(f"  Not registered with {title}: {path}: {one.reason}. --force replaces it.")
            continue
        if one.verdict is Verdict.BLOCKED:
            refused.append(title)
            context.terminal.say(f"  Not registered with {title}. {one.reason}")
            continue
        try:
            registration.apply(one, context.prefix, written, context.registry)
        except InstallError as error:
            refused.append(title)
            report.say_failure(context, f"Not registered with {title}.", error)
            continue
        verb = "Already registered" if one.verdict is Verdict.UNCHANGED else "Registered"
        reason = f" ({one.reason})" if one.reason else ""
        context.terminal.say(f"  {verb} with {title}: {path}{reason}")
    return refused
