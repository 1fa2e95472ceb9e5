"""Gradients beside their parameters: the norm of each over that of what it is to change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradclip_cli.commands.measuring import measured
from gradclip_cli.commands.spooling import has_stream
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.results.report import Report
from gradclip_cli.results.reporting import weighed as of_parameters
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.gradients import matched
from gradclip_cli.tensors.names import listed, plural
from gradclip_cli.tensors.renaming import Renaming


def partners_of(
    dump: Dump, chosen: Sequence[int], parameters: Dump, aligned: Renaming
) -> dict[int, int]:
    """Give the indices of parameters by those of gradients, which have the same names.

    Raises `GradclipError` where no gradient has one, or one has another shape: headers tell.
    """
    if has_stream(parameters) and has_stream(dump):
        raise GradclipError(
            "--params", "both it and the gradients are streams", "save one in a file first"
        )
    partners = matched(dump, chosen, parameters, aligned)
    if chosen and not partners:
        raise GradclipError(
            "--params",
            f"no gradient has a parameter of its name; the first is called "
            f"{listed([dump.tensors[chosen[0]].name or ''])}, the first parameter "
            f"{listed([one.name or '' for one in parameters.tensors[:1]])}",
            "align names with --strip-prefix and --rename, or name the parameters of this model",
        )
    return partners


def weighed(
    report: Report,
    dump: Dump,
    parameters: Dump,
    partners: Mapping[int, int],
    aligned: Renaming,
    hands: Crew,
) -> Report:
    """Give the report with the norms of parameters; what has no partner is counted in a note."""
    p = report.moments.norm_type
    places = sorted({*partners.values()})
    moments = measured(parameters, places, hands, p)
    names = {dump.tensors[index].name: moments[place] for index, place in partners.items()}
    alone = [row.name or "" for row in report.tensors if row.measured and row.name not in names]
    said = []
    if alone:
        said.append(f"{plural(len(alone), 'gradient')} without a parameter: {listed(alone)}")
    known = {aligned(one.name or "") for one in dump.tensors}
    spare = sum(aligned(one.name or "") not in known for one in parameters.tensors)
    if spare:
        said.append(f"{plural(spare, 'parameter')} without a gradient")
    return of_parameters(replace(report, notes=(*report.notes, *said)), names)
