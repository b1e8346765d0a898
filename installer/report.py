"""What the installer tells the user, beyond single lines: plans, failures, browsers that cannot work, next steps."""

import os
from collections.abc import Sequence
from pathlib import Path

from installer import browsers, sandboxes
from installer.context import Context, Options
from installer.environment import PipError
from installer.errors import InstallError
from installer.receipt import Receipt
from installer.registration import PlannedManifest
from installer.sources import Checkout
from installer.wording import INSTALLER, PYTHON, quoted


def show_plan(context: Context, planned: Sequence[PlannedManifest], wanted: Sequence[str]) -> None:
    """What a run would write; nothing is written."""
    say = context.terminal.say
    say("Dry run: nothing is written.")
    say(f"  environment  {context.environment.folder} (engines: {', '.join(wanted)})")
    say(f"  launcher     {context.launcher}")
    for one in planned:
        say(
            f"  {one.verdict:<12} {one.target.manifest}  [{one.target.title}]"
            + (f": {one.reason}" if one.reason else "")
        )
        for key in one.target.registry_keys:
            say(f"  registry     {one.target.hive}\\{key}")
        if one.will_stand:
            say("      " + one.content.decode().rstrip().replace("\n", "\n      "))
    say_sandboxes(context)
    if not planned:
        say_no_browser(context)


def say_failure(context: Context, what: str, error: InstallError) -> None:
    """A failure that the rest does not depend on."""
    context.terminal.say(f"  {what} {error}")
    if isinstance(error, PipError):
        context.terminal.say("    " + "\n    ".join(error.tail))
    if error.remedy:
        context.terminal.say(f"    {error.remedy}")


def say_browsers(context: Context, planned: Sequence[PlannedManifest], options: Options) -> None:
    """What there is to say about browsers that were not registered."""
    if not options.browsers and not options.user_data_dirs:
        say_sandboxes(context)
    if not planned:
        say_no_browser(context)


def say_sandboxes(context: Context) -> None:
    """The truth about Flatpak and Snap, for each such browser that is here."""
    for boxed in sandboxes.detect(context.platform):
        context.terminal.say("  " + boxed.truth.replace("\n", "\n    "))


def say_no_registration(context: Context, *, is_any_here: bool) -> None:
    """No browser starts this host, whether there are browsers or not."""
    if not is_any_here:
        say_no_browser(context)
        return
    context.terminal.say("  The host is registered with no browser.")
    context.terminal.say(f"  To register with all that are here: {again(context, 'install')}")


def say_no_browser(context: Context) -> None:
    """There is no browser to register with."""
    names = ", ".join(browser.name for browser in browsers.known(context.platform))
    context.terminal.say("  No browser was found, so the host is registered with none.")
    context.terminal.say(f"  To register for one all the same: {INSTALLER} --browser NAME, one of {names}.")


def say_next(context: Context, checkout: Checkout, planned: Sequence[PlannedManifest], written: Receipt) -> None:
    """What was done and what to do next."""
    say = context.terminal.say
    command = command_name(context, written)
    titles = [one.target.title for one in planned if one.will_stand]
    say()
    say(f"Installed in {context.prefix}" + (f", registered with {', '.join(titles)}." if titles else "."))
    say("Next:")
    families = {one.target.family for one in planned if one.will_stand}
    extension = checkout.root / "extension"
    if "chromium" in families:
        say("  Chat in Chromium or another of its family: open chrome://extensions, switch on Developer mode,")
        say(f"    Load unpacked, choose {extension}, click its icon.")
    if "firefox" in families:
        build = f"{PYTHON} {quoted(extension / 'build.py')} firefox OUT"
        say(f"  Chat in Firefox: {build}, then open about:debugging,")
        say("    This Firefox, Load Temporary Add-on, choose OUT/manifest.json, click its icon.")
    say(f"  Chat in the terminal:  {command} chat")
    say(f"  Let in an extension of your own:  {again(context, '--extension-id ID')}")
    say(f"  See whether all is well:  {again(context, 'check')}")
    say(f"  Take it away:  {again(context, 'uninstall')}")


def again(context: Context, command: str) -> str:
    """The command line that means this installation."""
    words = [INSTALLER, command]
    if context.system:
        words.append("--system")
    elif context.prefix != Path(context.platform.data_folder()):
        words += ["--prefix", quoted(context.prefix)]
    return " ".join(words)


def command_name(context: Context, written: Receipt) -> str:
    """How the user calls `tabagent-host`: by its name where the link's folder is on PATH, else by its path, quoted."""
    links = [Path(path) for path, entry in written.files.items() if entry.kind == "link"]
    on_path = context.platform.env.get("PATH", "").split(os.pathsep)
    if any(str(link.parent) in on_path for link in links):
        return "tabagent-host"
    return quoted(links[0] if links else context.environment.program("tabagent-host"))
