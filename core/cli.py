"""`limit-router …`: reads the command line, prints, and says how it went by the exit code.

0 as asked, 1 it failed, 2 misuse or a broken configuration, 3 nobody can serve the model.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live

from core import demo, inspection, report, setup, why
from core.engine import Engine
from core.errors import ConfigError, LimitRouterError
from core.model import Route
from core.simulator import SCENARIOS
from core.version import __version__

OK, FAILED, MISUSE, NOBODY = range(4)
WATCH_INTERVAL_S = 2.0

_EPILOG = "Exit codes: 0 as asked, 1 it failed, 2 misuse or a broken mitm.yaml, 3 nobody can serve."


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except ConfigError as error:
        return _complain(str(error), MISUSE)
    except LimitRouterError as error:
        return _complain(str(error), FAILED)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limit-router",
        description="Sends each AI request to the subscription with most headroom.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"limit-router {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _usage_parser(commands)
    _route_parser(commands)
    _why_parser(commands)
    _replay_parser(commands)
    _config_parser(commands)
    _demo_parser(commands)
    _simulate_parser(commands)
    path = commands.add_parser(
        "addon-path", help='print where the addon is: mitmdump -s "$(limit-router addon-path)"'
    )
    path.set_defaults(run=_addon_path)
    return parser


def _usage_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "usage",
        help="what each account has used of its limits",
        description="What each account has used of its limits, where that is known from, and "
        "how old it is. Shows every account that is signed in, and those that mitm.yaml names. "
        "Providers are asked when their interval allows.",
    )
    parser.add_argument(
        "--provider", metavar="ID", choices=inspection.provider_ids(), help="one alone"
    )
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="ask now, whatever the interval (but not while a provider has us wait), and show "
        "only what this ask finds",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--watch", action="store_true", help="keep it on the screen, and up to date")
    _json_option(shown)
    parser.set_defaults(run=_usage)


def _route_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "route",
        help="where a request for a model would go now, and why",
        description="The decision for a request made now: every candidate, its windows, the reason.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="claude-sonnet-4-5, with or without limit-router/"
    )
    _json_option(parser)
    parser.set_defaults(run=_route)


def _why_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "why",
        help="what stood behind a past decision",
        description="A decision that the proxy made: every candidate, its windows as they were "
        "then, the reason, and how the request went.",
    )
    parser.add_argument(
        "request",
        metavar="REQUEST-ID",
        nargs="?",
        default=why.LAST,
        help="as in the answer's x-limit-router-request, or its beginning (default: the last one)",
    )
    _json_option(parser)
    parser.set_defaults(run=_why)


def _replay_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "replay",
        help="what another policy would have done with your own decisions",
        description="Asks policies about the requests in the decision log, beside what was done. "
        "The windows are as they were: those that what was done led to, not those that another "
        "policy would have caused. All else of the policy is as mitm.yaml says now.",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME[,NAME]",
        help="configured (mitm.yaml's own), pace, drain, cheapest, fastest, priority, or a simple "
        "rule of simulate (default: all but the rules)",
    )
    parser.add_argument("--days", type=float, metavar="N", help="the last ones (default: all)")
    _json_option(parser)
    parser.set_defaults(run=_replay)


def _config_parser(commands: Any) -> None:
    parser = commands.add_parser("config", help="check mitm.yaml, or show what is in effect")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="say whether a configuration is right")
    check.add_argument(
        "path", metavar="PATH", nargs="?", type=Path, help="instead of the one in use"
    )
    _json_option(check)
    check.set_defaults(run=_config_check)
    show = actions.add_parser("show", help="effective values, and where each comes from")
    _json_option(show)
    show.set_defaults(run=_config_show)


def _demo_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="route real requests between simulated providers: no account, no network",
        description="Starts simulated providers and the real mitmdump with the addon, sends "
        "requests through it and shows where they went.",
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="over-pace",
        help="how far the simulated accounts are (default: %(default)s)",
    )
    _json_option(parser)
    parser.set_defaults(run=_demo)


def _simulate_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "simulate",
        help="measure the decisions against the offline optimum, on simulated accounts",
        description="Drives the real decision through made-up workloads on a virtual clock, with "
        "simple rules beside it. Without arguments: the committed set, with perfect readings and "
        "with readings as in life. The figures are the same each time.",
    )
    parser.add_argument("--policy", metavar="NAME[,NAME]", help="pace is the router's own decision")
    parser.add_argument(
        "--workload", metavar="NAME|FILE", help="one of the set, or a file of JSON lines"
    )
    parser.add_argument(
        "--accounts", metavar="NAME", help="whose accounts, of the set, a FILE's requests meet"
    )
    parser.add_argument("--days", type=int, metavar="N", help="how long (default: 30)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other workloads alike")
    readings = parser.add_mutually_exclusive_group()
    readings.add_argument("--perfect", dest="life", action="store_false", default=None)
    readings.add_argument("--life", dest="life", action="store_true", default=None)
    parser.add_argument("--quick", action="store_true", help="three workloads of the set")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw use against pace over time"
    )
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="write each request and who served it"
    )
    _json_option(parser)
    parser.set_defaults(run=_simulate)


def _json_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="JSON alone on standard output")


def _usage(options: argparse.Namespace) -> int:
    engine = setup.build()
    if options.watch:
        return _watch(engine, options.provider)
    readings = asyncio.run(inspection.usage(engine, options.provider, asked_now=options.no_cache))
    now = engine.clock()
    _print(options, report.usage_json(readings, now), report.usage(readings, now))
    return OK


def _watch(engine: Engine, provider: str | None) -> int:
    """Until it is interrupted. Providers are asked no oftener than without it."""
    with Live(console=Console(highlight=False), auto_refresh=False) as live:

        async def follow() -> None:
            while True:
                readings = await inspection.usage(engine, provider, asked_now=False)
                live.update(report.usage(readings, engine.clock()), refresh=True)
                await _pause()

        with suppress(KeyboardInterrupt):
            asyncio.run(follow())
    return OK


async def _pause() -> None:
    await asyncio.sleep(WATCH_INTERVAL_S)


def _route(options: argparse.Namespace) -> int:
    engine = setup.build()
    model = inspection.known_model(engine, options.model)
    decision = asyncio.run(inspection.route(engine, model))
    shown = report.route(f"limit-router/{model}", decision, engine.clock())
    _print(options, report.route_json(model, decision), shown)
    return OK if isinstance(decision, Route) else NOBODY


def _why(options: argparse.Namespace) -> int:
    found = why.run(setup.build(), options.request)
    _print(options, found.as_json, found.shown)
    return OK


def _replay(options: argparse.Namespace) -> int:
    # Other commands need none of what it loads.
    from core import replay  # noqa: PLC0415

    found = replay.run(setup.build(), replay.names(options.policy), options.days)
    _print(options, found.as_json, found.shown)
    return OK


def _config_check(options: argparse.Namespace) -> int:
    path, warnings = inspection.check_config(options.path)
    lines = [f"{path}: no mistake found."]
    lines += [f"{key} is accepted and has no effect in this version." for key in warnings]
    found = {"file": str(path), "ok": True, "without_effect": list(warnings)}
    _print(options, found, "\n".join(lines))
    return OK


def _config_show(options: argparse.Namespace) -> int:
    path, settings = inspection.settings()
    found = {
        "file": str(path),
        "settings": {s.key: {"value": s.value, "from": s.origin} for s in settings},
    }
    _print(options, found, report.settings(path, settings))
    return OK


def _addon_path(_: argparse.Namespace) -> int:
    sys.stdout.write(f"{setup.addon_script()}\n")
    return OK


def _demo(options: argparse.Namespace) -> int:
    with Console(stderr=True).status("starting the simulated providers and mitmdump …"):
        result = demo.run(SCENARIOS[options.scenario])
    _print(options, result.as_json(), demo.shown(result, list(SCENARIOS)))
    for fault in result.faults:
        _complain(f"not as expected: {fault}", FAILED)
    return FAILED if result.faults else OK


def _simulate(options: argparse.Namespace) -> int:
    # What it needs takes a second to load, and no other command needs it.
    from core.evaluation import command  # noqa: PLC0415

    found = command.run(
        command.Wanted(
            workload=options.workload,
            accounts=options.accounts,
            policies=command.policies(options.policy),
            days=options.days,
            seed=options.seed,
            life=options.life,
            quick=options.quick,
            plot=options.plot,
            log=options.log,
        )
    )
    _print(options, found.as_json, found.shown)
    return OK


def _print(options: argparse.Namespace, as_json: Any, for_people: RenderableType) -> None:
    if options.json:
        sys.stdout.write(msgspec.json.encode(as_json).decode() + "\n")
    else:
        # A sentence is not wrapped: a path in it must survive being copied.
        console = Console(highlight=False)
        console.print(for_people, soft_wrap=isinstance(for_people, str), markup=False)


def _complain(sentence: str, code: int) -> int:
    console = Console(stderr=True)
    console.print(f"limit-router: {sentence}", markup=False, highlight=False, soft_wrap=True)
    return code
